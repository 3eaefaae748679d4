"""Text as sequences of bytes, each with the byte that follows it: by default the help pages that Python ships."""

from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor

from lossviz.config.data import Text
from lossviz.errors import refuse
from lossviz.files import read

# Tokens are bytes.
VOCABULARY = 256


def text(config: Text) -> dict[str, tuple[Tensor, Tensor]]:
    """Tokens and next tokens of each split, int64 (N, context) both; the last tenth of the text is the test set.

    The text is cut into sequences that do not overlap, so that every byte but the first is predicted once.

    Raises:
        RequestError: there is no such file, or it is too short for one sequence in each split.
    """
    content = help_pages() if config.path is None else read(Path(config.path))
    tokens = torch.tensor(list(content))
    count = (len(tokens) - 1) // config.context
    if count < 2:
        problem = f"has {len(tokens):,} bytes, which is too short for two sequences of {config.context} tokens"
        refuse("data.path", problem, given=config.path, accepted=f"{2 * config.context + 1:,} bytes or more")
    end, cut = count * config.context, count - max(1, count // 10)
    inputs, targets = (part.view(count, config.context) for part in (tokens[:end], tokens[1 : end + 1]))
    return {"train": (inputs[:cut], targets[:cut]), "test": (inputs[cut:], targets[cut:])}


def help_pages() -> bytes:
    """All topics of Python's `help()` in the order of their names; each version of Python has its own."""
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()
