"""Deep linear networks."""

from torch import Tensor, nn

from lossviz.config.model import Linear as LinearConfig
from lossviz.models.normalization import norm1d


class DeepLinear(nn.Module):
    """f(x) = W_k ... W_1 x with square matrices without biases, and perhaps a normalisation after each but the last.

    Args:
        config: depth, normalisation.
        features: of the inputs (N, features).
        outputs: of the outputs (N, outputs).

    Source:
        Santurkar et al. 2018, appendix A.1.
    """

    def __init__(self, config: LinearConfig, features: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(config.depth - 1):
            layers += [nn.Linear(features, features, bias=False)]
            layers += [norm1d(config.norm, features, config.noise)]
        self.layers = nn.Sequential(*layers, nn.Linear(features, outputs, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs
