"""The schema: what is accepted as what, the defaults that documents promise, and that nothing changes later."""

import importlib
import json
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from lossviz.config import Config
from lossviz.config.section import Section


def config(**sections: object) -> Config:
    plain = {
        "name": "exp",
        "variant": "exp",
        "data": {"name": "digits"},
        "model": {"name": "vgg"},
        "train": {"steps": 100},
    }
    return Config.model_validate_json(json.dumps({**plain, **sections}))


def train(**keys: object) -> dict[str, object]:
    made: dict[str, object] = config(train={"steps": 100, **keys}).model_dump()["train"]
    return made


def test_what_is_left_out() -> None:
    made = config().model_dump(mode="json")
    assert made["seed"] == 0
    assert made["data"] == {
        "name": "digits",
        "examples": "all",
        "choose": "stratified",
        "augment": "none",
        "mean": None,
        "std": None,
    }
    assert (made["model"]["depth"], made["model"]["norm"], made["model"]["init"]) == (11, "none", "glorot")
    assert made["model"]["noise"] == {"n_mu": 0.5, "n_sigma": 1.25, "r_mu": 0.1, "r_sigma": 0.1}
    assert (made["train"]["lr"], made["train"]["batch_size"], made["train"]["optimizer"]) == (0.1, 128, "sgd")
    assert made["train"]["schedule"] == {"kind": "constant"}
    assert made["probe"] == {
        "every": 100,
        "measures": ["landscape"],
        "lengths": [0.05, 0.1, 0.2, 0.4],
        "layers": [],
        "channel": "drawn",
        "sharpness": {"eigenvalues": 1, "examples": "minibatch"},
    }
    assert (made["surface"]["x"], made["surface"]["y"]) == (["auto", "auto", 51], None)
    assert made["surface"]["directions"] == {
        "kind": "random",
        "normalize": "filter",
        "ignore": ["bias", "norm"],
        "parameters": {"include": ["."], "exclude": []},
        "seed": 123,
        "keep": True,
    }


def test_training_may_be_absent() -> None:
    assert config(train=None).train is None


def test_whole_numbers_are_numbers() -> None:
    lr = train(lr=1)["lr"]
    assert (lr, type(lr)) == (1.0, float)
    x = config(surface={"x": [0, 1, 2]}).surface.x
    assert x == (0.0, 1.0, 2)
    assert [type(number) for number in x] == [float, float, int]


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": "adam", "betas": [0.0, 0.5]},
        {"momentum": 0.9, "nesterov": True},
        {"warmup": 100},
        {"schedule": {"kind": "step", "milestones": [1, 99], "gamma": 1.5}},
        {"schedule": {"kind": "cosine"}},
        {"momentum": 0.999999},
        {"weight_decay": 0},
        {"compile": True, "channels_last": False},
        {"eval_examples": 1},
        {"eval_examples": "none"},
        {"micro_batch": 1},
        {"micro_batch": 1000},
        {"warmup": 100, "warmup_lr": 0.01},
        {"schedule": {"kind": "plateau", "patience": 1, "min_delta": 0.0, "gamma": 0.5}},
        {"batch_size": 1},
    ],
)
def test_the_edge_of_what_is_accepted(keys: dict[str, object]) -> None:
    made = json.loads(json.dumps(train(**keys)))
    assert {key: made[key] for key in keys} == keys


@pytest.mark.parametrize(
    ("depth", "right"), [(8, True), (20, True), (110, True), (9, False), (10, False), (21, False), (2, False)]
)
def test_depth_of_a_residual_network_is_6n_plus_2(depth: int, right: bool) -> None:
    try:
        made = config(model={"name": "resnet", "depth": depth})
    except ValidationError:
        assert not right
    else:
        assert right
        assert made.model.model_dump()["depth"] == depth


def test_arguments_for_torchvision_are_what_yaml_can_say() -> None:
    args = {"dropout": 0.5, "norm": None, "replace": [False, True, True], "inner": {"a": "b"}, "groups": 2}
    made = config(model={"name": "torchvision", "network": "resnet18", "args": args}).model
    assert made.model_dump(mode="json") == {"name": "torchvision", "network": "resnet18", "args": args}
    assert config(model={"name": "torchvision", "network": "resnet18"}).model.model_dump()["args"] == {}


def test_a_minibatch_may_be_the_whole_data_set() -> None:
    assert config(data={"name": "digits", "examples": 128}).data.examples == 128
    with pytest.raises(ValidationError, match=r"train\.batch_size = 128: is larger than data\.examples = 127"):
        config(data={"name": "digits", "examples": 127})
    assert config(data={"name": "digits", "examples": 127}, train=None).train is None


@pytest.mark.parametrize(("wanted", "kind"), [("last", str), (0, int), (300, int), ("a/b.safetensors", str)])
def test_checkpoint_is_last_or_a_step_or_a_path(wanted: str | int, kind: type) -> None:
    made = config(surface={"checkpoint": wanted}).surface.checkpoint
    assert made == wanted
    assert type(made) is kind


def test_nothing_changes_after_reading() -> None:
    made = config()
    for section, key in ((made, "seed"), (made.model, "depth"), (made.surface.directions, "seed")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, 20)
    assert hash(made) == hash(config())


def sections(model: type[Section] = Section) -> Iterator[type[Section]]:
    for each in model.__subclasses__():
        yield each
        yield from sections(each)


def test_every_section_is_strict_and_every_key_is_explained() -> None:
    importlib.import_module("lossviz.loops.probe")  # it has a section of its own
    found = [each for each in sections() if each.__module__.startswith("lossviz.")]
    assert Config in found
    assert len(found) > 10
    for model in found:
        assert model.model_config.get("extra") == "forbid", model
        assert model.model_config.get("strict"), model
        assert model.model_config.get("frozen"), model
        assert model.__doc__, model
        for key, field in model.model_fields.items():
            assert field.description or key in ("name", "kind"), f"{model.__name__}.{key}"
