"""A person's own network, data and loss in a configuration: which mapping replaces which, and who must allow it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.config.data import Cifar10, OwnData
from lossviz.config.loss import CrossEntropy, OwnLoss
from lossviz.config.model import OwnModel, Vgg
from lossviz.config.reading import dump
from lossviz.errors import RequestError
from lossviz.user_code.permissions import NOBODY, parse_allowed

NAMED = "name: exp\ndata: {name: cifar10, root: there}\nmodel: {name: vgg, depth: 16}\n"
OWN = (
    "name: exp\n"
    "data: {target: 'nets.py:data', args: {count: 3}, examples: 5}\n"
    "model: {target: 'nets.py:net', args: {depth: 3, wide: false}}\n"
    "loss: {target: 'nets.py:loss'}\n"
)
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("raise SystemExit('it ran')\n")
    (tmp_path / "other.py").write_text("")

    def _write(text: str) -> str:
        (tmp_path / "c.yaml").write_text(text)
        return "c.yaml"

    return _write


def test_a_target_makes_a_section_one_s_own(write: Write) -> None:
    (config,) = read(write(OWN))
    assert config.data == OwnData(name="own", target="nets.py:data", args={"count": 3}, examples=5)
    assert config.model == OwnModel(name="own", target="nets.py:net", args={"depth": 3, "wide": False})
    assert config.loss == OwnLoss(name="own", target="nets.py:loss")
    assert read(write(dump(config))) == [config]
    assert hash(config) == hash(read(write(OWN))[0])
    assert hash(config) != hash(read(write(OWN.replace("depth: 3", "depth: 4")))[0])


OWN_MODEL = OwnModel(name="own", target="nets.py:net", args={"depth": 3, "wide": False})


@pytest.mark.parametrize(
    ("text", "overrides", "model"),
    [
        # a target replaces a named network, wherever it is written
        (NAMED + "variants: {a: {model: {target: 'x.py:f'}}}", [], OwnModel(name="own", target="x.py:f")),
        (NAMED, ["model.target=x.py:f"], OwnModel(name="own", target="x.py:f")),
        (NAMED, ["model={target: 'x.py:f'}"], OwnModel(name="own", target="x.py:f")),
        (
            NAMED + "variants: {a: {model: {name: resnet}}}",
            ["variants.a.model.target=x.py:f"],
            OwnModel(name="own", target="x.py:f"),
        ),
        # and a name replaces a target
        (OWN + "variants: {a: {model: {name: vgg}}}", [], Vgg(name="vgg")),
        (OWN, ["model.name=vgg"], Vgg(name="vgg")),
        (OWN + "variants: {a: {model: {target: 'x.py:f'}}}", ["variants.a.model.name=vgg"], Vgg(name="vgg")),
        # arguments merge, and those of another target start from nothing
        (
            OWN + "variants: {a: {model: {args: {depth: 9}}}}",
            [],
            OwnModel(name="own", target="nets.py:net", args={"depth": 9, "wide": False}),
        ),
        (
            OWN + "variants: {a: {model: {target: 'x.py:f'}}}",
            [],
            OwnModel(name="own", target="x.py:f"),
        ),
        (
            OWN,
            ["model.target=x.py:f", "model.args.deep=true"],
            OwnModel(name="own", target="x.py:f", args={"deep": True}),
        ),
        (OWN, ["model.target=nets.py:net"], OWN_MODEL),
        (OWN + "variants: {a: {model: {name: own}}}", ["model.args.wide=false"], OWN_MODEL),
    ],
)
def test_which_mapping_replaces_which(write: Write, text: str, overrides: list[str], model: OwnModel | Vgg) -> None:
    (config,) = read(write(text), overrides)
    assert config.model == model


def test_data_and_loss_likewise(write: Write) -> None:
    variants = "variants: {a: {data: {name: cifar10}, loss: {name: cross-entropy}}}"
    (config,) = read(write(OWN + variants))
    assert config.data == Cifar10(name="cifar10")
    assert config.loss == CrossEntropy(name="cross-entropy")
    variants = "variants: {a: {data: {target: 'x.py:d'}, loss: {target: 'x.py:l'}}}"
    (config,) = read(write(NAMED + "loss: {name: cross-entropy}\n" + variants))
    assert config.data == OwnData(name="own", target="x.py:d")
    assert config.loss == OwnLoss(name="own", target="x.py:l")
    assert read(write(OWN), ["loss=null"])[0].loss is None
    (config,) = read(write(OWN), ["data.target=x.py:d"])
    assert config.data == OwnData(name="own", target="x.py:d", examples=5)


def test_a_network_of_one_s_own_goes_with_any_data_and_the_other_way_round(write: Write) -> None:
    for data in ("digits", "gaussian"):
        read(write(f"name: exp\ndata: {{name: {data}}}\nmodel: {{target: 'x.py:f'}}"))
    for model in ("vgg", "linear"):
        read(write(f"name: exp\ndata: {{target: 'x.py:f'}}\nmodel: {{name: {model}}}"))
    own = "name: exp\ndata: {target: 'x.py:f'}\nmodel: {target: 'x.py:f'}\n"
    for loss in ("cross-entropy", "squared-error"):
        read(write(own + f"loss: {{name: {loss}}}"))
    read(write(own + "train: {steps: 1, batch_size: 1}"))


def test_what_the_command_line_does_not_allow_is_refused_with_its_line(write: Write) -> None:
    with pytest.raises(RequestError) as caught:
        read(write(OWN), allowed=NOBODY)
    advice = "runs code that the command line did not allow\n  if you trust what is in nets.py, add --allow nets.py"
    assert str(caught.value) == "\n".join(
        f"c.yaml, line {line}: {key}.target = nets.py:{name}: {advice}"
        for line, key, name in ((2, "data", "data"), (3, "model", "net"), (4, "loss", "loss"))
    )
    assert len(read(write(OWN), allowed=parse_allowed(["nets.py"]))) == 1


@pytest.mark.parametrize(
    ("text", "overrides", "place"),
    [
        (
            NAMED + "variants: {a: {}, b: {model: {target: 'nets.py:net'}}}",
            [],
            "c.yaml, line 4 (variant b): model.target",
        ),
        (NAMED, ["model.target=nets.py:net"], "--set model.target=nets.py:net: model.target = nets.py:net"),
        (NAMED, ["loss={target: 'nets.py:l'}"], "--set loss={target: 'nets.py:l'}: loss.target = nets.py:l"),
        (OWN, ["model.target=./x/../nets.py:net"], "--set model.target=./x/../nets.py:net: model.target"),
    ],
)
def test_wherever_a_target_is_written_it_must_be_allowed(
    write: Write, text: str, overrides: list[str], place: str
) -> None:
    Path("x").mkdir()
    with pytest.raises(RequestError) as caught:
        read(write(text), overrides, allowed=parse_allowed(["other.py"]))
    assert place in str(caught.value)
    read(write(text), overrides, allowed=parse_allowed(["nets.py"]))


def test_a_variant_that_is_not_asked_for_needs_no_permission(write: Write) -> None:
    source = write(NAMED + "variants: {a: {}, b: {model: {target: 'nets.py:net'}}}")
    assert [config.variant for config in read(source, only=["a"], allowed=NOBODY)] == ["a"]


def test_a_file_that_is_not_there_is_told_before_it_is_allowed(write: Write) -> None:
    with pytest.raises(RequestError) as caught:
        read(write(OWN.replace("nets.py:net", "nope.py:net")), allowed=parse_allowed(["nets.py"]))
    assert str(caught.value) == (
        "c.yaml, line 3: model.target = nope.py:net: there is no file nope.py\n"
        f"  a path is relative to the working directory, {Path.cwd()}"
    )


def test_wrong_keys_and_targets_are_told_together(write: Write) -> None:
    with pytest.raises(RequestError) as caught:
        read(write(OWN + "variants: {a: {}, b: {seed: x}}"), allowed=parse_allowed(["other.py"]))
    lines = str(caught.value).splitlines()
    assert [line for line in lines if "seed = x" in line] == ["c.yaml, line 5 (variant b): seed = x"]
    assert sum("model.target" in line for line in lines) == 1
