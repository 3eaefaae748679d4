"""One answer from several views of an example."""

import math
from collections.abc import Callable

from torch import Tensor


def over_views(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Outputs of a network, or for several crops of each image the logarithm of their mean probabilities.

    log(1/V * sum over views v of softmax(f(x_v))): its cross-entropy is minus the logarithm of the mean probability
    of the right class.

    Args:
        forward: from (N, C, H, W) to logits (N, K).
        inputs: (N, ...), used as they are, or V views each, (N, V, C, H, W).

    Source:
        Krizhevsky et al. 2012, section 4.1: the predictions of the softmax layer are averaged.
    """
    if inputs.dim() < 5:
        return forward(inputs)
    images, views = inputs.shape[:2]
    logits = forward(inputs.flatten(0, 1)).view(images, views, -1)
    return logits.log_softmax(-1).logsumexp(1) - math.log(views)
