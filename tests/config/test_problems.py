"""Every refusal of a configuration: one readable block that names place, key, value given and values accepted."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.errors import RequestError

TRAIN_KEYS = (
    "steps, batch_size, optimizer, lr, momentum, nesterov, betas, weight_decay, schedule, warmup, eval_every, "
    "eval_examples, checkpoint_every, precision, compile, channels_last"
)
NAME = "a name of at most 100 letters, digits, '.', '_' and '-', the first a letter or digit"
TOP_KEYS = "name, seed, data, model, train, probe, surface, variants"


def refusal(folder: Path, sections: dict[str, str], overrides: tuple[str, ...] = ()) -> str:
    """The message for a configuration: name, data, model and train on lines 1 to 4, then what is added."""
    plain = {"name": "exp", "data": "{name: digits}", "model": "{name: vgg}", "train": "{steps: 10}"}
    text = "".join(f"{key}: {value}\n" for key, value in {**plain, **sections}.items() if value != "absent")
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read("c.yaml", overrides)
    assert caught.value.exit_status == 2
    return str(caught.value)


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        # unknown keys, at every depth
        ("sede", "1", f"5: sede is not a key of a configuration; did you mean seed?\n  accepted: {TOP_KEYS}"),
        (
            "varaints",
            "{}",
            f"5: varaints is not a key of a configuration; did you mean variants?\n  accepted: {TOP_KEYS}",
        ),
        ("dataset", "x", f"5: dataset is not a key of a configuration; did you mean data?\n  accepted: {TOP_KEYS}"),
        (
            "epochs",
            "3",
            f"5: epochs is not a key of a configuration; did you mean train.steps?\n  accepted: {TOP_KEYS}",
        ),
        ("depth", "3", f"5: depth is not a key of a configuration; did you mean model.depth?\n  accepted: {TOP_KEYS}"),
        ("3", "4", f"5: 3 is not a key of a configuration\n  accepted: {TOP_KEYS}"),
        (
            "train",
            "{steps: 1, learning_rate: 1}",
            f"4: train.learning_rate is not a key of train; did you mean lr?\n  accepted: {TRAIN_KEYS}",
        ),
        (
            "train",
            "{steps: 1, batchsize: 1}",
            f"4: train.batchsize is not a key of train; did you mean batch_size?\n  accepted: {TRAIN_KEYS}",
        ),
        # the slip is told once: milestones is not also missing
        (
            "train",
            "{steps: 9, schedule: {kind: step, milestone: [3]}}",
            "4: train.schedule.milestone is not a key of train.schedule with kind: step; did you mean milestones?\n"
            "  accepted: kind, milestones, gamma",
        ),
        (
            "model",
            "{name: vgg, shortcut: A}",
            "3: model.shortcut is not a key of model with name: vgg\n"
            "  accepted: name, depth, width, norm, noise, init, classifier",
        ),
        (
            "model",
            "{name: vgg, vgg: 3}",
            "3: model.vgg is not a key of model with name: vgg\n"
            "  accepted: name, depth, width, norm, noise, init, classifier",
        ),
        (
            "model",
            "{name: vgg, noise: {nmu: 1}}",
            "3: model.noise.nmu is not a key of model.noise; did you mean n_mu?\n"
            "  accepted: n_mu, n_sigma, r_mu, r_sigma",
        ),
        # tags
        ("data", "{name: mnist}", "2: data.name = mnist\n  accepted: digits or cifar10"),
        ("data", "{}", "2: data.name is missing\n  accepted: digits or cifar10"),
        ("data", "digits", "2: data = digits\n  accepted: a mapping with name: digits or cifar10"),
        ("data", "", "2: data has no value\n  accepted: a mapping with name: digits or cifar10"),
        ("data", "absent", ": data is missing\n  accepted: a mapping with name: digits or cifar10"),
        ("model", "{name: [vgg]}", "3: model.name = [vgg]\n  accepted: vgg or resnet"),
        ("model", "{name: }", "3: model.name has no value\n  accepted: vgg or resnet"),
        (
            "train",
            "{steps: 1, schedule: cosine}",
            "4: train.schedule = cosine\n  accepted: a mapping with kind: constant, step or cosine",
        ),
        (
            "train",
            "{steps: 1, schedule: {kind: cosin}}",
            "4: train.schedule.kind = cosin\n  accepted: constant, step or cosine",
        ),
        # missing keys, sections without a value
        ("train", "{}", "4: train.steps is missing\n  accepted: a whole number of at least 1"),
        (
            "train",
            "{steps: 1, schedule: {kind: step}}",
            "4: train.schedule.milestones is missing\n  accepted: a list of one or more whole numbers of at least 1",
        ),
        ("probe", "", "5: probe has no value\n  accepted: a mapping with the keys every, measures, lengths"),
        ("probe", "[1]", "5: probe = [1]\n  accepted: a mapping with the keys every, measures, lengths"),
        # names
        ("name", "absent", f": name is missing\n  accepted: {NAME}"),
        ("name", "", f"1: name has no value\n  accepted: {NAME}"),
        ("name", "3", f"1: name = 3\n  accepted: {NAME}"),
        ("name", "a/b", f"1: name = a/b\n  accepted: {NAME}"),
        ("name", ".hidden", f"1: name = .hidden\n  accepted: {NAME}"),
        ("name", '"a\\n"', f'1: name = "a\\n"\n  accepted: {NAME}'),
        ("name", "é", f"1: name = é\n  accepted: {NAME}"),
        ("name", "x" * 101, f"1: name = {'x' * 77}...\n  accepted: {NAME}"),
        ("name", "figures", "1: name = figures: a variant cannot be called so, because figures/ holds the plots"),
        ("surface", "{name: ../x}", f"5: surface.name = ../x\n  accepted: {NAME}"),
        # types and ranges
        ("seed", "-1", "5: seed = -1\n  accepted: a whole number from 0 to 4294967295"),
        ("seed", "4294967296", "5: seed = 4294967296\n  accepted: a whole number from 0 to 4294967295"),
        ("seed", "true", "5: seed = true\n  accepted: a whole number from 0 to 4294967295"),
        ("seed", "1.0", "5: seed = 1.0\n  accepted: a whole number from 0 to 4294967295"),
        ("seed", "2024-01-01", "5: seed = '2024-01-01'\n  accepted: a whole number from 0 to 4294967295"),
        ("train", "{steps: 1e3}", "4: train.steps = 1000.0\n  accepted: a whole number of at least 1"),
        ("train", "{steps: 1, lr: true}", "4: train.lr = true\n  accepted: a number above 0"),
        ("train", "{steps: 1, lr: '0.1'}", "4: train.lr = '0.1'\n  accepted: a number above 0"),
        ("train", "{steps: 1, lr: 1:30}", "4: train.lr = '1:30'\n  accepted: a number above 0"),
        ("train", "{steps: 1, lr: .inf}", "4: train.lr = .inf\n  accepted: a finite number above 0"),
        ("train", "{steps: 1, lr: 1e400}", "4: train.lr = .inf\n  accepted: a finite number above 0"),
        ("train", "{steps: 1, lr: .nan}", "4: train.lr = .nan\n  accepted: a finite number above 0"),
        ("train", "{steps: 1, lr: {a: 1}}", "4: train.lr = {a: 1}\n  accepted: a number above 0"),
        ("train", "{steps: 1, momentum: 1}", "4: train.momentum = 1\n  accepted: a number of at least 0 and below 1"),
        ("train", "{steps: 1, nesterov: yes}", "4: train.nesterov = 'yes'\n  accepted: true or false"),
        ("train", "{steps: 1, optimizer: SGD}", "4: train.optimizer = SGD\n  accepted: sgd, adam or adamw"),
        ("train", "{steps: 1, compile: 3}", "4: train.compile = 3\n  accepted: auto, true or false"),
        (
            "train",
            "{steps: 1, eval_examples: true}",
            "4: train.eval_examples = true\n  accepted: all or a whole number of at least 1",
        ),
        ("model", "{name: vgg, depth: 12}", "3: model.depth = 12\n  accepted: 9, 11, 13, 16 or 19"),
        ("model", "{name: vgg, depth: '11'}", "3: model.depth = '11'\n  accepted: 9, 11, 13, 16 or 19"),
        ("model", "{name: vgg, norm: no}", "3: model.norm = 'no'\n  accepted: none, batch or noisy-batch"),
        ("model", "{name: vgg, norm: }", "3: model.norm has no value\n  accepted: none, batch or noisy-batch"),
        (
            "surface",
            "{checkpoint: -1}",
            "5: surface.checkpoint = -1\n  accepted: last, a whole number of at least 0 or text that is not empty",
        ),
        # lists, and one wrong element of a list
        ("probe", "{lengths: 1}", "5: probe.lengths = 1\n  accepted: a list of one or more numbers above 0"),
        ("probe", "{lengths: []}", "5: probe.lengths = []\n  accepted: a list of one or more numbers above 0"),
        ("probe", "{lengths: [0, 1]}", "5: probe.lengths[0] = 0\n  accepted: a number above 0"),
        ("probe", "{measures: [sharp]}", "5: probe.measures[0] = sharp\n  accepted: landscape"),
        ("data", "{name: digits, std: [0]}", "2: data.std[0] = 0\n  accepted: a number above 0"),
        (
            "surface",
            "{directions: {ignore: bias}}",
            "5: surface.directions.ignore = bias\n  accepted: a list of bias or norm",
        ),
        (
            "surface",
            "{x: [-1, 1]}",
            "5: surface.x = [-1, 1] is too short\n"
            "  accepted: a list [a number, a number, a whole number of at least 2]",
        ),
        (
            "surface",
            "{y: [-1, 1, 2, 3]}",
            "5: surface.y = [-1, 1, 2, 3]\n  accepted: a list [a number, a number, a whole number of at least 2]",
        ),
        ("surface", "{y: [-1, 1, 1]}", "5: surface.y[2] = 1\n  accepted: a whole number of at least 2"),
        (
            "train",
            "{steps: 1, optimizer: adam, betas: [0.9]}",
            "4: train.betas = [0.9] is too short\n  accepted: a list of 2 numbers of at least 0 and below 1",
        ),
        # impossible combinations
        ("surface", "{x: [1, -1, 3]}", "5: surface.x: the range must grow: min = 1 is not below max = -1"),
        ("model", "{name: resnet, depth: 21}", "3: model.depth = 21 is not 6n + 2; the nearest are 20 and 26"),
        ("probe", "{lengths: [1, 1]}", "5: probe.lengths = [1.0, 1.0] must grow from one to the next"),
        (
            "train",
            "{steps: 9, schedule: {kind: step, milestones: [5, 3]}}",
            "4: train.schedule.milestones = [5, 3] must grow from one to the next",
        ),
        (
            "train",
            "{steps: 9, schedule: {kind: step, milestones: [5, 9]}}",
            "4: train.schedule.milestones = [5, 9] must lie before train.steps = 9",
        ),
        ("train", "{steps: 9, warmup: 10}", "4: train.warmup = 10 is longer than train.steps = 9"),
        (
            "train",
            "{steps: 9, optimizer: adam, momentum: 0.9}",
            "4: train.momentum = 0.9 belongs to optimizer: sgd; adam has betas",
        ),
        (
            "train",
            "{steps: 9, betas: [0.8, 0.9]}",
            "4: train.betas = [0.8, 0.9] belongs to optimizer: adam or adamw; sgd has momentum",
        ),
        ("train", "{steps: 9, nesterov: true}", "4: train.nesterov = true needs optimizer: sgd and a momentum above 0"),
        # batch_size has its default, so the place is that of the other key
        (
            "data",
            "{name: digits, examples: 50}",
            "2: train.batch_size = 128 is larger than data.examples = 50",
        ),
        # variants
        *[
            (
                "variants",
                value,
                "5: variants is not a mapping of names to overrides\n"
                "  accepted: one name or more, such as {standard: {}, batchnorm: {model: {norm: batch}}}",
            )
            for value in ("", "{}", "[a]", "3")
        ],
        (
            "variants",
            "{a: b}",
            "5: variants.a is not a mapping of overrides\n  accepted: {} for none, or such as {model: {norm: batch}}",
        ),
        *[
            ("variants", f"{{a: {{{key}: b}}}}", f"5: variants.a.{key}: a variant cannot change {key}")
            for key in ("name", "variant", "siblings", "variants")
        ],
        *[
            ("variants", f"{{{name}: {{}}}}", f"5: variants.{name} is not a name of a folder\n  accepted: {NAME}")
            for name in ("a/b", "a b", "..", "~", "-x")
        ],
        (
            "variants",
            "{figures: {}}",
            "5: variants.figures: a variant cannot be called so, because figures/ holds the plots",
        ),
        (
            "variants",
            "{a: {model: {norn: batch}}}",
            "5 (variant a): model.norn is not a key of model with name: vgg; did you mean norm?\n"
            "  accepted: name, depth, width, norm, noise, init, classifier",
        ),
        (
            "variants",
            "{a: {}, b: {train: {warmup: 50}}}",
            "5 (variant b): train.warmup = 50 is longer than train.steps = 10",
        ),
        (
            "variants",
            "{a: {train: {schedule: {kind: step}}}}",
            "5 (variant a): train.schedule.milestones is missing\n"
            "  accepted: a list of one or more whole numbers of at least 1",
        ),
    ],
)
def test_one_wrong_key_is_one_message(tmp_path: Path, key: str, value: str, message: str) -> None:
    line = "c.yaml" if message.startswith(":") else "c.yaml, line "
    assert refusal(tmp_path, {key: value}) == line + message


@pytest.mark.parametrize("key", ["variant", "siblings"])
def test_what_is_filled_in_is_not_written_beside_variants(tmp_path: Path, key: str) -> None:
    message = refusal(tmp_path, {key: "a", "variants": "{a: {}}"})
    assert message == f"c.yaml, line 5: {key} is filled in from variants; delete it"


def test_every_wrong_key_is_told_once(tmp_path: Path) -> None:
    sections = {"seed": "x", "surface": "{batch_size: 0}", "variants": "{a: {}, b: {}, c: {probe: {every: 0}}}"}
    assert refusal(tmp_path, sections) == (
        "c.yaml, line 5: seed = x\n"
        "  accepted: a whole number from 0 to 4294967295\n"
        "c.yaml, line 6: surface.batch_size = 0\n"
        "  accepted: a whole number of at least 1\n"
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
        (("data=null",), "--set data=null: data has no value\n  accepted: a mapping with name: digits or cifar10"),
        (("model=resnet",), "--set model=resnet: model = resnet\n  accepted: a mapping with name: vgg or resnet"),
        (
            ("probe.lengths.0=3",),
            "--set probe.lengths.0=3: probe.lengths = {'0': 3}\n  accepted: a list of one or more numbers above 0",
        ),
        (
            ("train.schedule.kind=step",),
            "--set train.schedule.kind=step: train.schedule.milestones is missing\n"
            "  accepted: a list of one or more whole numbers of at least 1",
        ),
        (("train.warmup=7", "train.steps=5"), "--set train.steps=5: train.warmup = 7 is longer than train.steps = 5"),
        (("data.examples=5",), "--set data.examples=5: train.batch_size = 128 is larger than data.examples = 5"),
        (
            ("variants.a.seed=x",),
            "--set variants.a.seed=x: seed = x\n  accepted: a whole number from 0 to 4294967295",
        ),
        (
            ("variants.a=3",),
            "--set variants.a=3: variants.a is not a mapping of overrides\n"
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
