"""From a file, variants and --set to complete configurations."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lossviz.config import read
from lossviz.config.directions import Random
from lossviz.config.model import Lora, Resnet, Timm, Torchvision, Transformers, Vgg
from lossviz.config.reading import dump
from lossviz.config.train import Cosine, Step
from lossviz.errors import RequestError

BASE = """\
name: exp
data: {name: digits}
model: {name: vgg, width: 0.5, noise: {n_mu: 0.25}}
train: {steps: 100, lr: 0.2, schedule: {kind: step, milestones: [10, 20], gamma: 0.5}}
"""
Write = Callable[[str], str]
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> str:
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return _write


def test_without_variants_there_is_one_named_after_the_experiment(write: Write) -> None:
    (config,) = read(write(BASE))
    assert (config.name, config.variant, config.siblings) == ("exp", "exp", ("exp",))
    (config,) = read(write(BASE), ["name=other"])
    assert (config.name, config.variant, config.siblings) == ("other", "other", ("other",))


def test_variants_keep_their_order_and_know_their_siblings(write: Write) -> None:
    source = write(BASE + "variants: {zeta: {}, 1e-3: {}, alpha: , yes: {seed: 5}}\n")
    configs = read(source)
    assert [config.variant for config in configs] == ["zeta", "1e-3", "alpha", "yes"]
    assert {config.siblings for config in configs} == {("zeta", "1e-3", "alpha", "yes")}
    assert [config.seed for config in configs] == [0, 0, 0, 5]
    chosen = read(source, only=["yes", "zeta"])
    assert [config.variant for config in chosen] == ["zeta", "yes"]
    assert chosen[0].siblings == ("zeta", "1e-3", "alpha", "yes")


def test_variants_merge_deeply(write: Write) -> None:
    (config,) = read(write(BASE + "variants: {a: {model: {norm: batch, noise: {r_mu: 0.5}}, train: {lr: 1}}}\n"))
    assert isinstance(config.model, Vgg)
    assert (config.model.width, config.model.norm) == (0.5, "batch")
    assert (config.model.noise.n_mu, config.model.noise.r_mu) == (0.25, 0.5)
    assert config.train is not None
    assert (config.train.steps, config.train.lr) == (100, 1.0)
    assert config.train.schedule == Step(kind="step", milestones=(10, 20), gamma=0.5)


def test_lists_are_replaced_as_a_whole(write: Write) -> None:
    (config,) = read(write(BASE + "variants: {a: {probe: {lengths: [3]}}}\n"), ["train.schedule.milestones=[7]"])
    assert config.probe.lengths == (3.0,)
    assert config.train is not None
    assert config.train.schedule == Step(kind="step", milestones=(7,), gamma=0.5)


@pytest.mark.parametrize(
    ("variants", "overrides"),
    [
        ("variants: {a: {model: {name: resnet}, train: {schedule: {kind: cosine}}}}", []),
        ("", ["model.name=resnet", "train.schedule.kind=cosine"]),
        ("", ["model={name: resnet}", "train.schedule={kind: cosine}"]),
        # also where the tag of a variant is changed from the command line
        (
            "variants: {a: {model: {name: vgg, classifier: [3]}}}",
            ["variants.a.model.name=resnet", "variants.a.train.schedule.kind=cosine"],
        ),
    ],
)
def test_a_changed_tag_replaces_its_mapping(write: Write, variants: str, overrides: list[str]) -> None:
    (config,) = read(write(BASE + variants), overrides)
    assert config.model == Resnet(name="resnet")
    assert config.train is not None
    assert config.train.schedule == Cosine(kind="cosine")
    assert config.train.lr == 0.2


def test_a_repeated_tag_replaces_nothing(write: Write) -> None:
    text = BASE + "surface: {directions: {seed: 7}}\nvariants: {a: {model: {name: vgg, depth: 9}}}\n"
    (config,) = read(write(text), ["surface.directions.kind=random", "train.schedule.kind=step"])
    assert config.model.model_dump()["width"] == 0.5
    assert config.surface.directions == Random(seed=7)
    assert config.train is not None
    assert config.train.schedule == Step(kind="step", milestones=(10, 20), gamma=0.5)


@pytest.mark.parametrize("first", [["model.name=resnet", "model.depth=56"], ["model.depth=56", "model.name=resnet"]])
def test_a_tag_of_the_command_line_keeps_what_was_set_before_it(write: Write, first: list[str]) -> None:
    (config,) = read(write(BASE), first)
    assert config.model == Resnet(name="resnet", depth=56)
    variants = read(write(BASE + "variants: {a: {}, b: {}}"), [f"variants.b.{each}" for each in first])
    assert variants[1].model == config.model


def test_a_network_of_torchvision_by_its_short_name(write: Write) -> None:
    model = re.search("{name: vgg.*", BASE)
    assert model
    text = BASE.replace(model[0], "{name: torchvision/resnet18, args: {groups: 1}}")
    variants = "variants: {a: {}, b: {model: {args: {groups: 2}}}, c: {model: {name: vgg}}}"
    first, second, third = read(write(text + variants))
    assert first.model == Torchvision(name="torchvision", network="resnet18", args={"groups": 1})
    assert second.model == Torchvision(name="torchvision", network="resnet18", args={"groups": 2})
    assert third.model == Vgg(name="vgg")
    (config,) = read(write(text), ["model={name: torchvision/vit_b_16}"])
    assert config.model == Torchvision(name="torchvision", network="vit_b_16")
    assert read(write(text), ["model.network=vit_b_16"])[0].model == config.model
    assert read(write(dump(config))) == [config]


def test_the_command_line_wins_over_variants_and_its_end_over_its_beginning(write: Write) -> None:
    source = write(BASE + "seed: 1\nvariants: {a: {seed: 2}, b: {}}\n")
    assert [config.seed for config in read(source)] == [2, 1]
    assert [config.seed for config in read(source, ["seed=3"])] == [3, 3]
    assert [config.seed for config in read(source, ["seed=3", "seed = 4"])] == [4, 4]
    assert [config.seed for config in read(source, ["variants.b.seed=5"])] == [2, 5]
    assert [config.seed for config in read(source, ["seed=3", "variants.b.seed=5"])] == [3, 3]
    added = read(source, ["variants.c={seed: 6}"])
    assert [(config.variant, config.seed) for config in added] == [("a", 2), ("b", 1), ("c", 6)]


def test_values_of_the_command_line_are_typed(write: Write) -> None:
    (config,) = read(write(BASE), ["train.lr=1e-3", "surface.x=[-1, 1, 5]", "train.nesterov=false", "train.momentum=0"])
    assert config.train is not None
    assert (config.train.lr, config.train.nesterov) == (0.001, False)
    assert config.surface.x == (-1.0, 1.0, 5)


def test_unknown_variant(write: Write) -> None:
    with pytest.raises(RequestError, match=r"c\.yaml: there is no variant c, d\n  variants: a, b$"):
        read(write(BASE + "variants: {a: {}, b: {}}\n"), only=["c", "a", "d"])


def test_a_configuration_that_ran_is_read_back_identical(write: Write) -> None:
    text = BASE + "variants: {a: {model: {name: resnet, depth: 32}}, 1e-3: {train: }, no: {data: {mean: [1e-7]}}}\n"
    for config in read(write(text)):
        (back,) = read(write(dump(config)))
        assert back == config
        assert read(write(dump(config)), ["seed=9"])[0] == config.model_copy(update={"seed": 9})


def test_the_file_that_ran_means_the_same_to_other_readers(write: Write) -> None:
    (config,) = read(write(BASE.replace("exp", "'1e3'") + "variants: {no: {}}"), ["data.augment=crop-flip"])
    assert yaml.safe_load(dump(config)) == config.model_dump(mode="json")


def test_reading_imports_nothing_heavy() -> None:
    check = (
        "import sys, lossviz.run; print([name for name in ('torch', 'xarray', 'numpy', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Keys that exist, in places where they may or may not belong, so that the junk gets deep into the schema.
KEYS = st.sampled_from(
    re.findall(
        r"\w+",
        """
        name seed data model train probe surface variants variant siblings kind steps lr betas schedule
        milestones depth noise n_mu classifier mean std x y checkpoint directions lengths measures examples
        batch_size digits vgg step 0 a
        """,
    )
)
LEAVES = st.one_of(
    st.sampled_from(
        ["exp", "digits", "cifar10", "vgg", "resnet", "step", "cosine", "random", "all", "last", "figures"]
    ),
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@FUZZ
@given(sections=st.dictionaries(KEYS, TREES, max_size=5), overrides=st.lists(st.tuples(KEYS, KEYS, TREES), max_size=2))
def test_junk_is_read_or_refused_and_nothing_else(
    write: Write, sections: dict[str, object], overrides: list[tuple[str, str, object]]
) -> None:
    base: dict[str, object] = yaml.safe_load(BASE)
    source = write(yaml.safe_dump({**base, **sections}))
    texts = [f"{outer}.{inner}={yaml.safe_dump(value, default_flow_style=True)}" for outer, inner, value in overrides]
    try:
        configs = read(source, texts)
    except RequestError as error:
        assert error.exit_status == 2
        assert all(len(line) < 400 for line in str(error).splitlines() if "--set" not in line)
    else:
        for config in configs:
            assert read(write(dump(config))) == [config]


@FUZZ
@given(text=st.text(alphabet=st.sampled_from("ab: {}[],-&*<!'\"#|>\n\t1e.~%@`\\") | st.characters(), max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(write: Write, text: str) -> None:
    for source, overrides in ((BASE + "surface: " + text, []), (BASE, [f"seed={text}"]), (BASE, [text])):
        try:
            read(write(source.encode("utf-8", "replace").decode()), overrides)
        except RequestError as error:
            assert str(error)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: name != "figures")
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
RIGHT = st.fixed_dictionaries(
    {
        "name": NAMES,
        "seed": st.integers(0, 2**32 - 1),
        "data": st.fixed_dictionaries(
            {"name": st.just("cifar10"), "root": st.text(st.characters(exclude_categories=["Cs"]))}
        ),
        "model": st.just({"name": "resnet", "depth": 8}),
        "train": st.fixed_dictionaries({"steps": st.just(1), "lr": POSITIVE | st.integers(1, 10)}),
        "probe": st.fixed_dictionaries({"lengths": st.lists(POSITIVE, min_size=1, unique=True).map(sorted)}),
        "variants": st.lists(NAMES, min_size=1, max_size=3, unique=True).map(
            lambda names: {name: {"seed": number} for number, name in enumerate(names)}
        ),
    }
)


@FUZZ
@given(tree=RIGHT)
def test_what_is_right_is_read_back_as_it_was_written(write: Write, tree: dict[str, Any]) -> None:
    configs = read(write(yaml.safe_dump(tree, sort_keys=False)))
    assert [config.variant for config in configs] == list(tree["variants"])
    assert [config.seed for config in configs] == list(range(len(configs)))
    for config in configs:
        assert (config.name, config.data.model_dump()["root"]) == (tree["name"], tree["data"]["root"])
        assert config.probe.lengths == tuple(tree["probe"]["lengths"])
        assert config.train is not None
        assert config.train.lr == tree["train"]["lr"]
        assert read(write(dump(config))) == [config]


def test_networks_of_other_libraries_by_their_short_names(write: Write) -> None:
    model = re.search("{name: vgg.*", BASE)
    assert model
    text = BASE.replace(model[0], "{name: timm/vit_tiny_patch16_224, args: {img_size: 32}}")
    lora = "{name: transformers/AutoModelForImageClassification, path: vit, lora: {r: 4, targets: [query]}}"
    first, second, third = read(
        write(text + f"variants: {{a: {{}}, b: {{model: {lora}}}, c: {{model: {{args: {{}}}}}}}}")
    )
    assert first.model == Timm(name="timm", network="vit_tiny_patch16_224", args={"img_size": 32})
    assert second.model == Transformers(
        name="transformers",
        network="AutoModelForImageClassification",
        path="vit",
        lora=Lora(r=4, targets=("query",)),
    )
    assert third.model == first.model
    assert read(write(dump(second))) == [second]
