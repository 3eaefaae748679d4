"""Where a wrong value was written: in a variant, in the rest of the file, or on the command line."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.errors import RequestError
from tests.config.refusal import DATA, NAME, NETWORKS, TRAIN_KEYS, refusal


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *[
            (
                value,
                "5: variants: is not a mapping of names to overrides\n"
                "  accepted: one name or more, such as {standard: {}, batchnorm: {model: {norm: batch}}}",
            )
            for value in ("", "{}", "[a]", "3")
        ],
        (
            "{a: b}",
            "5: variants.a: is not a mapping of overrides\n  accepted: {} for none, or such as {model: {norm: batch}}",
        ),
        *[
            (f"{{a: {{{key}: b}}}}", f"5: variants.a.{key}: a variant cannot change {key}")
            for key in ("name", "variant", "siblings", "variants")
        ],
        *[
            (f"{{{name}: {{}}}}", f"5: variants.{name}: is not a name of a folder\n  accepted: {NAME}")
            for name in ("a/b", "a b", "..", "~", "-x")
        ],
        (
            "{figures: {}}",
            "5: variants.figures: a variant cannot be called so, because figures/ holds the plots",
        ),
        (
            "{a: {model: {norn: batch}}}",
            "5 (variant a): model.norn: is not a key of model with name: vgg; did you mean norm?\n"
            "  accepted: name, depth, width, norm, noise, init, classifier",
        ),
        (
            "{a: {}, b: {train: {warmup: 50}}}",
            "5 (variant b): train.warmup = 50: is longer than train.steps = 10",
        ),
        (
            "{a: {train: {schedule: {kind: step}}}}",
            "5 (variant a): train.schedule.milestones: is missing\n"
            "  accepted: a list of one or more whole numbers of at least 1",
        ),
    ],
)
def test_wrong_variants(tmp_path: Path, value: str, message: str) -> None:
    assert refusal(tmp_path, {"variants": value}) == f"c.yaml, line {message}"


def test_all_wrong_variants_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"variants": "\n  figures: {}\n  a/b: {}\n  c: 3\n  d: {name: x}"})
    assert [line[: len("c.yaml, line 6: variants.f")] for line in message.splitlines() if line[0] != " "] == [
        "c.yaml, line 6: variants.f",
        "c.yaml, line 7: variants.a",
        "c.yaml, line 8: variants.c",
        "c.yaml, line 9: variants.d",
    ]


@pytest.mark.parametrize("key", ["variant", "siblings"])
def test_what_is_filled_in_is_not_written_beside_variants(tmp_path: Path, key: str) -> None:
    message = refusal(tmp_path, {key: "a", "variants": "{a: {}}"})
    assert message == f"c.yaml, line 5: {key}: is filled in from variants; delete it"


def test_a_key_that_a_variant_lacks_is_missing_in_the_variant(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"train": "absent", "variants": "\n  a:\n    train: {lr: 1}"})
    assert message == "c.yaml, line 6 (variant a): train.steps: is missing\n  accepted: a whole number of at least 1"


def test_every_wrong_key_is_told_once(tmp_path: Path) -> None:
    sections = {"seed": "x", "surface": "{batch_size: 0}", "variants": "{a: {}, b: {}, c: {probe: {every: 0}}}"}
    assert refusal(tmp_path, sections) == (
        "c.yaml, line 5: seed = x\n"
        "  accepted: a whole number from 0 to 4294967295\n"
        "c.yaml, line 6: surface.batch_size = 0\n"
        "  accepted: auto or a whole number of at least 1\n"
        "c.yaml, line 7 (variant c): probe.every = 0\n"
        "  accepted: a whole number of at least 1"
    )


def test_the_line_is_that_of_the_key(tmp_path: Path) -> None:
    nested = "\n  every: 3\n  lengths:\n    - 0.1\n    - zero"
    assert refusal(tmp_path, {"probe": nested}).startswith("c.yaml, line 9: probe.lengths[1] = zero\n")


def test_the_line_of_a_merged_key_is_where_it_was_written(tmp_path: Path) -> None:
    nested = "\n  a: &common\n    train: {lrr: 1}\n  b:\n    <<: *common\n    seed: 3"
    message = refusal(tmp_path, {"variants": nested})
    assert message.count("c.yaml, line 7 (variant") == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("train.lr=abc",), "--set train.lr=abc: train.lr = abc\n  accepted: a number above 0"),
        (("seed=1", "seed=-2"), "--set seed=-2: seed = -2\n  accepted: a whole number from 0 to 4294967295"),
        (("train=1",), f"--set train=1: train = 1\n  accepted: a mapping with the keys {TRAIN_KEYS}"),
        (
            ("data=null",),
            f"--set data=null: data: has no value\n  accepted: a mapping with name: {DATA}",
        ),
        (
            ("model=resnet",),
            f"--set model=resnet: model = resnet\n  accepted: a mapping with name: {NETWORKS}",
        ),
        (
            ("probe.lengths.0=3",),
            "--set probe.lengths.0=3: probe.lengths = {'0': 3}\n  accepted: a list of one or more numbers above 0",
        ),
        (
            ("train.schedule.kind=step",),
            "--set train.schedule.kind=step: train.schedule.milestones: is missing\n"
            "  accepted: a list of one or more whole numbers of at least 1",
        ),
        (("train.warmup=7", "train.steps=5"), "--set train.steps=5: train.warmup = 7: is longer than train.steps = 5"),
        (("data.examples=5",), "--set data.examples=5: train.batch_size = 128: is larger than data.examples = 5"),
        (
            ("variants.a.seed=x",),
            "--set variants.a.seed=x: seed = x\n  accepted: a whole number from 0 to 4294967295",
        ),
        (
            ("variants.a=3",),
            "--set variants.a=3: variants.a: is not a mapping of overrides\n"
            "  accepted: {} for none, or such as {model: {norm: batch}}",
        ),
        (("variants.a.name=b",), "--set variants.a.name=b: variants.a.name: a variant cannot change name"),
        (("name=a/b",), f"--set name=a/b: name = a/b\n  accepted: {NAME}"),
        (("variant=b",), "--set variant=b: variant is filled in from variants; choose with --variant NAME"),
        *[
            ((text,), f"--set {text}: is not of the form key.key=value, such as --set train.lr=0.05")
            for text in ("train.lr", "=3", "train..lr=1", "", ".=1", "train.=1")
        ],
        (
            ("surface.x=[1",),
            "--set surface.x=[1: is not YAML: a bracket or quote is opened and not closed\n"
            "  accepted: a value in YAML, such as --set 'surface.x=[-1, 1, 25]'",
        ),
        (
            ("train={steps: 1, steps: 2}",),
            "--set train={steps: 1, steps: 2}: the key steps stands twice in the same mapping; keep one\n"
            "  accepted: a value in YAML, such as --set 'surface.x=[-1, 1, 25]'",
        ),
        (
            ("seed=&a [*a]",),
            "--set seed=&a [*a]: is nested more than 50 deep, or contains itself\n"
            "  accepted: a value in YAML, such as --set 'surface.x=[-1, 1, 25]'",
        ),
    ],
)
def test_what_the_command_line_got_wrong_is_told_as_such(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    assert refusal(tmp_path, {}, overrides) == message


@pytest.mark.parametrize("overrides", [("seed=x", "variants.a.seed=y"), ("variants.a.seed=y", "seed=x")])
def test_the_setting_that_wins_is_the_one_to_blame(tmp_path: Path, overrides: tuple[str, str]) -> None:
    message = refusal(tmp_path, {"variants": "{a: {}}"}, overrides)
    assert message.startswith("--set seed=x: seed = x\n")


def test_a_wrong_value_of_the_file_is_not_blamed_on_the_command_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"train": "{steps: 0}"}, ("train.lr=0.5", "train={momentum: 0.5}"))
    assert message == "c.yaml, line 4: train.steps = 0\n  accepted: a whole number of at least 1"


def test_a_configuration_elsewhere_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal(tmp_path, {"seed": "x"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(RequestError, match=r"^c\.yaml, line 5"):
        read(str(tmp_path / "c.yaml"))
    monkeypatch.chdir(elsewhere)
    with pytest.raises(RequestError) as caught:
        read(str(tmp_path / "c.yaml"))
    assert str(caught.value).startswith(f"{tmp_path}/c.yaml, line 5: seed = x")
