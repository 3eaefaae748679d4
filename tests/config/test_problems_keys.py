"""Refusals of keys: those that are unknown, those that are missing, and those that say which other keys there are."""

from pathlib import Path

import pytest

from lossviz.errors import show
from tests.config.refusal import DATA, NETWORKS, TOP_KEYS, TRAIN_KEYS, refusal


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        # unknown keys, at every depth
        ("sede", "1", f"5: sede: is not a key of a configuration; did you mean seed?\n  accepted: {TOP_KEYS}"),
        (
            "varaints",
            "{}",
            f"5: varaints: is not a key of a configuration; did you mean variants?\n  accepted: {TOP_KEYS}",
        ),
        ("dataset", "x", f"5: dataset: is not a key of a configuration; did you mean data?\n  accepted: {TOP_KEYS}"),
        (
            "epochs",
            "3",
            f"5: epochs: is not a key of a configuration; did you mean train.steps?\n  accepted: {TOP_KEYS}",
        ),
        ("depth", "3", f"5: depth: is not a key of a configuration; did you mean model.depth?\n  accepted: {TOP_KEYS}"),
        ("3", "4", f"5: 3: is not a key of a configuration\n  accepted: {TOP_KEYS}"),
        (
            "train",
            "{steps: 1, learning_rate: 1}",
            f"4: train.learning_rate: is not a key of train; did you mean lr?\n  accepted: {TRAIN_KEYS}",
        ),
        (
            "train",
            "{steps: 1, batchsize: 1}",
            f"4: train.batchsize: is not a key of train; did you mean batch_size?\n  accepted: {TRAIN_KEYS}",
        ),
        # the slip is told once: milestones is not also missing
        (
            "train",
            "{steps: 9, schedule: {kind: step, milestone: [3]}}",
            "4: train.schedule.milestone: is not a key of train.schedule with kind: step; did you mean milestones?\n"
            "  accepted: kind, milestones, gamma",
        ),
        (
            "model",
            "{name: vgg, shortcut: A}",
            "3: model.shortcut: is not a key of model with name: vgg\n"
            "  accepted: name, depth, width, norm, noise, init, classifier",
        ),
        (
            "model",
            "{name: vgg, vgg: 3}",
            "3: model.vgg: is not a key of model with name: vgg\n"
            "  accepted: name, depth, width, norm, noise, init, classifier",
        ),
        (
            "model",
            "{name: vgg, noise: {nmu: 1}}",
            "3: model.noise.nmu: is not a key of model.noise; did you mean n_mu?\n"
            "  accepted: n_mu, n_sigma, r_mu, r_sigma",
        ),
        # tags
        ("data", "{name: mnist}", f"2: data.name = mnist\n  accepted: {DATA}"),
        ("data", "{}", f"2: data.name: is missing\n  accepted: {DATA}"),
        ("data", "digits", f"2: data = digits\n  accepted: a mapping with name: {DATA}"),
        ("data", "", f"2: data: has no value\n  accepted: a mapping with name: {DATA}"),
        ("data", "absent", f": data: is missing\n  accepted: a mapping with name: {DATA}"),
        ("model", "{name: [vgg]}", f"3: model.name = [vgg]\n  accepted: {NETWORKS}"),
        ("model", "{name: }", f"3: model.name: has no value\n  accepted: {NETWORKS}"),
        (
            "train",
            "{steps: 1, schedule: cosine}",
            "4: train.schedule = cosine\n  accepted: a mapping with kind: constant, step, cosine or plateau",
        ),
        (
            "train",
            "{steps: 1, schedule: {kind: cosin}}",
            "4: train.schedule.kind = cosin\n  accepted: constant, step, cosine or plateau",
        ),
        # code of one's own
        *[
            (
                section,
                f"{{target: '{target}'}}",
                f"{line}: {section}.target = {show(target)}: is not of the form FILE.py:NAME or package.module:NAME",
            )
            for section, line in (("data", 2), ("model", 3), ("loss", 5))
            for target in (
                "nets.py",
                "nets",
                "nets.py:",
                ":make",
                "nets.py:make()",
                "a-b:make",
                "my nets:make",
                "../a:b",
            )
        ],
        ("model", "{name: own}", "3: model.target: is missing\n  accepted: text"),
        (
            "model",
            "{name: vgg, target: 'a.py:b'}",
            "3: model.target: is not a key of model with name: vgg\n  accepted: "
            "name, depth, width, norm, noise, init, classifier",
        ),
        (
            "model",
            "{target: 'a.py:b', depth: 3}",
            "3: model.depth: is not a key of model with name: own\n  accepted: name, target, args",
        ),
        ("model", "{target: 'a.py:b', args: [3]}", "3: model.args = [3]\n  accepted: a mapping"),
        (
            "model",
            "{target: 'a.py:b', args: {p: [.inf]}}",
            "3: model.args = {p: [.inf]}: holds a number that is not finite; write it as text, such as 'inf'",
        ),
        ("loss", "{name: hinge}", "5: loss.name = hinge\n  accepted: cross-entropy, squared-error or own"),
        (
            "loss",
            "cross-entropy",
            "5: loss = cross-entropy\n  accepted: a mapping with name: cross-entropy, squared-error or own, or null",
        ),
        (
            "loss",
            "{name: squared-error}",
            "5: loss.name = squared-error: does not fit data.name = digits; cross-entropy goes with classes, "
            "squared-error with vectors",
        ),
        # missing keys, sections without a value
        ("train", "{}", "4: train.steps: is missing\n  accepted: a whole number of at least 1"),
        (
            "train",
            "{steps: 1, schedule: {kind: step}}",
            "4: train.schedule.milestones: is missing\n  accepted: a list of one or more whole numbers of at least 1",
        ),
        (
            "probe",
            "",
            "5: probe: has no value\n"
            "  accepted: a mapping with the keys every, measures, lengths, layers, channel, sharpness",
        ),
        (
            "probe",
            "[1]",
            "5: probe = [1]\n  accepted: a mapping with the keys every, measures, lengths, layers, channel, sharpness",
        ),
    ],
)
def test_one_wrong_key_is_one_message(tmp_path: Path, key: str, value: str, message: str) -> None:
    line = "c.yaml" if message.startswith(":") else "c.yaml, line "
    assert refusal(tmp_path, {key: value}) == line + message
