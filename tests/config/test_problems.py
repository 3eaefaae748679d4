"""Every refusal of a configuration: one readable block that names place, key, value given and values accepted."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.errors import Refusal, RequestError
from tests.config.refusal import NAME, refusal


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        # names
        ("name", "absent", f": name: is missing\n  accepted: {NAME}"),
        ("name", "", f"1: name: has no value\n  accepted: {NAME}"),
        ("name", "3", f"1: name = 3\n  accepted: {NAME}"),
        ("name", "a/b", f"1: name = a/b\n  accepted: {NAME}"),
        ("name", ".hidden", f"1: name = .hidden\n  accepted: {NAME}"),
        ("name", '"a\\n"', f'1: name = "a\\n"\n  accepted: {NAME}'),
        ("name", "é", f"1: name = é\n  accepted: {NAME}"),
        ("name", "x" * 101, f"1: name = {'x' * 101}\n  accepted: {NAME}"),
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
            "{steps: 1, warmup_lr: 0.01}",
            "4: train.warmup_lr = 0.01: needs a train.warmup of at least 1 step",
        ),
        (
            "train",
            "{steps: 1, sync_bn: true, compile: true}",
            "4: train.sync_bn = true: does not go with train.compile = true; use auto",
        ),
        (
            "train",
            "{steps: 1, eval_examples: true}",
            "4: train.eval_examples = true\n  accepted: all, none or a whole number of at least 1",
        ),
        ("model", "{name: vgg, depth: 12}", "3: model.depth = 12\n  accepted: 9, 11, 13, 16 or 19"),
        ("model", "{name: densenet, depth: 100}", "3: model.depth = 100\n  accepted: 121, 161, 169 or 201"),
        ("model", "{name: resnet-imagenet, shortcut: D}", "3: model.shortcut = D\n  accepted: A, B, C or none"),
        ("model", "{name: resnet-imagenet, stride_in: 3}", "3: model.stride_in = 3\n  accepted: 3x3 or 1x1"),
        ("model", "{name: torchvision}", "3: model.network: is missing\n  accepted: text that is not empty"),
        ("model", "{name: torchvision/, args: {}}", "3: model.network = ''\n  accepted: text that is not empty"),
        ("model", "{name: torchvision/resnet18, args: [1]}", "3: model.args = [1]\n  accepted: a mapping"),
        ("model", "{name: vgg, depth: '11'}", "3: model.depth = '11'\n  accepted: 9, 11, 13, 16 or 19"),
        (
            "model",
            "{name: vgg, norm: no}",
            "3: model.norm = 'no'\n  accepted: none, batch, noisy-batch, noise, l1, l2 or linf",
        ),
        (
            "model",
            "{name: vgg, norm: }",
            "3: model.norm: has no value\n  accepted: none, batch, noisy-batch, noise, l1, l2 or linf",
        ),
        (
            "surface",
            "{checkpoint: -1}",
            "5: surface.checkpoint = -1\n  accepted: last, a whole number of at least 0 or text that is not empty",
        ),
        # lists, and one wrong element of a list
        ("probe", "{lengths: 1}", "5: probe.lengths = 1\n  accepted: a list of one or more numbers above 0"),
        ("probe", "{lengths: []}", "5: probe.lengths = []\n  accepted: a list of one or more numbers above 0"),
        ("probe", "{lengths: [0, 1]}", "5: probe.lengths[0] = 0\n  accepted: a number above 0"),
        (
            "probe",
            "{measures: [sharp]}",
            "5: probe.measures[0] = sharp\n  accepted: landscape, shift, activations, sharpness, critical-sharpness, "
            "batch-sharpness or gradient-noise-scale",
        ),
        ("data", "{name: digits, std: [0]}", "2: data.std[0] = 0\n  accepted: a number above 0"),
        (
            "surface",
            "{directions: {ignore: bias}}",
            "5: surface.directions.ignore = bias\n  accepted: a list of bias or norm",
        ),
        (
            "surface",
            "{x: [-1, 1]}",
            "5: surface.x = [-1, 1]: is too short\n"
            "  accepted: a list [auto or a number, auto or a number, a whole number of at least 2]",
        ),
        (
            "surface",
            "{y: [-1, 1, 2, 3]}",
            "5: surface.y = [-1, 1, 2, 3]\n"
            "  accepted: a list [auto or a number, auto or a number, a whole number of at least 2]",
        ),
        ("surface", "{y: [-1, 1, 1]}", "5: surface.y[2] = 1\n  accepted: a whole number of at least 2"),
        (
            "train",
            "{steps: 1, optimizer: adam, betas: [0.9]}",
            "4: train.betas = [0.9]: is too short\n  accepted: a list of 2 numbers of at least 0 and below 1",
        ),
    ],
)
def test_one_wrong_value_is_one_message(tmp_path: Path, key: str, value: str, message: str) -> None:
    line = "c.yaml" if message.startswith(":") else "c.yaml, line "
    assert refusal(tmp_path, {key: value}) == line + message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        # impossible combinations
        ("surface", "{x: [1, -1, 3]}", "5: surface.x = [1, -1, 3]: must grow: min = 1 is not below max = -1"),
        ("surface", "{y: [1, 1, 3]}", "5: surface.y = [1, 1, 3]: must grow: min = 1 is not below max = 1"),
        ("model", "{name: resnet, depth: 21}", "3: model.depth = 21: is not 6n + 2; the nearest are 20 and 26"),
        (
            "model",
            "{name: torchvision/resnet18, args: {weights: DEFAULT}}",
            "3: model.args.weights = DEFAULT: is not yours to give; load weights from a file, surface.checkpoint",
        ),
        (
            "model",
            "{name: torchvision/resnet18, args: {num_classes: 3}}",
            "3: model.args.num_classes = 3: is not yours to give; the data say how many classes there are",
        ),
        (
            "model",
            "{name: timm/resnet18, args: {checkpoint_path: a.pth}}",
            "3: model.args.checkpoint_path = a.pth: is not yours to give; load weights from a file, surface.checkpoint",
        ),
        (
            "model",
            "{name: timm/resnet18, args: {pretrained_cfg: {}}}",
            "3: model.args.pretrained_cfg = {}: is not yours to give; load weights from a file, surface.checkpoint",
        ),
        (
            "model",
            "{name: transformers/AutoModel, path: a}",
            "3: model.network = AutoModel\n  accepted: AutoModelForCausalLM, AutoModelForMaskedLM, "
            "AutoModelForSequenceClassification, AutoModelForTokenClassification or AutoModelForImageClassification",
        ),
        (
            "model",
            "{name: transformers/AutoModelForCausalLM, path: a}",
            "3: model.name = transformers/AutoModelForCausalLM: does not fit data.name = digits; linear goes with "
            "gaussian, gpt and transformers/AutoModelForCausalLM with text, the others with images",
        ),
        (
            "model",
            "{target: transformers/AutoModelForCausalLM, args: {path: a}}",
            "3: model.target = transformers/AutoModelForCausalLM: is a network of a library, which needs no target: "
            "{name: transformers/AutoModelForCausalLM}",
        ),
        ("model", "{name: gpt, width: 10, heads: 3}", "3: model.heads = 3: does not divide model.width = 10"),
        (
            "data",
            "{name: text}",
            "3: model.name = vgg: does not fit data.name = text; linear goes with gaussian, gpt and "
            "transformers/AutoModelForCausalLM with text, the others with images",
        ),
        ("probe", "{lengths: [1, 1]}", "5: probe.lengths = [1.0, 1.0]: must grow from one to the next"),
        (
            "train",
            "{steps: 9, schedule: {kind: step, milestones: [5, 3]}}",
            "4: train.schedule.milestones = [5, 3]: must grow from one to the next",
        ),
        (
            "train",
            "{steps: 9, schedule: {kind: step, milestones: [5, 9]}}",
            "4: train.schedule.milestones = [5, 9]: must lie before train.steps = 9",
        ),
        ("train", "{steps: 9, warmup: 10}", "4: train.warmup = 10: is longer than train.steps = 9"),
        (
            "train",
            "{steps: 9, optimizer: adam, momentum: 0.9}",
            "4: train.momentum = 0.9: belongs to optimizer: sgd; adam has betas",
        ),
        (
            "train",
            "{steps: 9, betas: [0.8, 0.9]}",
            "4: train.betas = [0.8, 0.9]: belongs to optimizer: adam or adamw; sgd has momentum",
        ),
        (
            "train",
            "{steps: 9, nesterov: true}",
            "4: train.nesterov = true: needs optimizer: sgd and a momentum above 0",
        ),
        # batch_size has its default, so the place is that of the other key
        (
            "data",
            "{name: digits, examples: 50}",
            "2: train.batch_size = 128: is larger than data.examples = 50",
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_one_message(tmp_path: Path, key: str, value: str, message: str) -> None:
    line = "c.yaml" if message.startswith(":") else "c.yaml, line "
    assert refusal(tmp_path, {key: value}) == line + message


def test_all_that_does_not_fit_together_is_told_at_once(tmp_path: Path) -> None:
    sections = {
        "train": "{steps: 9, warmup: 10, optimizer: adam, momentum: 0.9}",
        "surface": "{directions: {kind: hessian, eigenvectors: [0]}, batch_norm: interpolate}",
    }
    assert refusal(tmp_path, sections).splitlines() == [
        "c.yaml, line 4: train.momentum = 0.9: belongs to optimizer: sgd; adam has betas",
        "c.yaml, line 4: train.warmup = 10: is longer than train.steps = 9",
        "c.yaml, line 5: surface.directions.eigenvectors = [0]",
        "  accepted: one for x, another for y: 1, 2, ... from the largest eigenvalue, -1, -2, ... from the smallest",
        "c.yaml, line 5: surface.batch_norm = interpolate: needs directions with running statistics, and "
        "surface.directions.kind = hessian has none",
        "  the kinds toward, pca and file have them",
    ]


def test_a_refusal_is_a_value(tmp_path: Path) -> None:
    """Its parts can be asked for, and no text has to be taken apart."""
    (tmp_path / "c.yaml").write_text("name: exp\ndata: {name: digits}\nmodel: {name: vgg}\nsurface: {batch_size: 0}\n")
    with pytest.raises(RequestError) as caught:
        read("c.yaml", ["train={steps: 3, warmup: 7, lr: [1, 2]}", "train.schedule={kind: step, milestones: [1, x]}"])
    wrong_size, wrong_rate, wrong_step = sorted(caught.value.refusals, key=lambda each: each.keys)
    assert caught.value.refusals
    assert wrong_size == Refusal(
        ("surface", "batch_size"), "", 0, "auto or a whole number of at least 1", place="c.yaml, line 4"
    )
    assert (wrong_rate.keys, wrong_rate.given, wrong_rate.accepted) == (("train", "lr"), [1, 2], "a number above 0")
    assert wrong_rate.place == "--set train={steps: 3, warmup: 7, lr: [1, 2]}"
    assert (wrong_step.keys, wrong_step.given) == (("train", "schedule", "milestones", 1), "x")
    assert wrong_step.place.startswith("--set train.schedule=")
