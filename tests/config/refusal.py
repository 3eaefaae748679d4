"""A configuration that is refused, and the words that several tests expect."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.errors import RequestError

TRAIN_KEYS = (
    "steps, batch_size, micro_batch, sync_bn, optimizer, lr, momentum, nesterov, betas, weight_decay, schedule, "
    "warmup, warmup_lr, eval_every, eval_examples, checkpoint_every, precision, compile, channels_last"
)
DATA = "digits, cifar10, imagefolder, gaussian, text or own"
NETWORKS = "vgg, resnet, resnet-imagenet, densenet, linear, gpt, torchvision, timm, transformers or own"
NAME = "a name of at most 100 letters, digits, '.', '_' and '-', the first a letter or digit"
TOP_KEYS = "name, seed, data, model, loss, train, probe, surface, variants"


def refusal(folder: Path, sections: dict[str, str], overrides: tuple[str, ...] = ()) -> str:
    """The message for a configuration: name, data, model and train on lines 1 to 4, then what is added."""
    plain = {"name": "exp", "data": "{name: digits}", "model": "{name: vgg}", "train": "{steps: 10}"}
    text = "".join(f"{key}: {value}\n" for key, value in {**plain, **sections}.items() if value != "absent")
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read("c.yaml", overrides)
    assert caught.value.exit_status == 2
    return str(caught.value)
