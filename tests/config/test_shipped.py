"""The configurations that come with lossviz."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.config.reading import find, shipped_configurations
from lossviz.config.train import Step
from lossviz.errors import RequestError


@pytest.mark.parametrize("name", shipped_configurations())
def test_each_is_read_under_its_own_name(name: str) -> None:
    configs = read(name)
    assert configs
    assert {config.name for config in configs} == {name}


def test_the_paper_s_figures_are_there() -> None:
    figures = {f"batchnorm-{figure}" for figure in ("fig1", "fig2", "fig3", "fig4", "dln", "lp", "small")}
    surfaces = {f"surface-{what}" for what in ("fig1", "depth", "width", "densenet", "batch-size", "small")}
    residual = {f"resnet-{figure}" for figure in ("fig4", "fig4-small", "fig6", "fig6-small")}
    assert {"quickstart", *figures, *surfaces, *residual} <= set(shipped_configurations())


@pytest.mark.parametrize("name", ["fig1", "depth", "width", "densenet", "batch-size"])
def test_surfaces_are_trained_as_li_et_al_did(name: str) -> None:
    """300 epochs of 50,000 images; the learning rate drops after 150, 225 and 275 of them."""
    for config in read(f"surface-{name}"):
        train = config.train
        assert train is not None
        assert isinstance(train.schedule, Step)
        marks = [step * train.batch_size / 50_000 for step in (*train.schedule.milestones, train.steps)]
        assert marks == pytest.approx([150, 225, 275, 300], abs=train.batch_size / 50_000)
        assert (train.momentum, train.nesterov, train.schedule.gamma) == (0.9, True, 0.1)
        assert train.weight_decay == (5e-4 if name != "batch-size" or "decay" in config.variant else 0)
        assert train.lr == (0.01 if config.variant == "resnet-110-noshort" else 0.1)
        assert config.model.model_dump().get("shortcut", "B") == ("none" if "noshort" in config.variant else "B")
        assert config.surface.x[2] == 51
        assert (config.surface.y is None) == (name == "batch-size")


@pytest.mark.parametrize(
    ("name", "batch", "milestones", "steps"),
    [("fig4", 256, (150_000, 300_000), 600_000), ("fig6", 128, (32_000, 48_000), 64_000)],
)
def test_residual_networks_are_trained_as_he_et_al_did(
    name: str, batch: int, milestones: tuple[int, ...], steps: int
) -> None:
    """Sections 3.4 and 4.2; shortcuts A, and a warm-up of the deepest."""
    for config in read(f"resnet-{name}"):
        train, (kind, depth) = config.train, config.variant.split("-")
        assert train is not None
        assert train.schedule == Step(kind="step", milestones=milestones)
        assert (train.batch_size, train.steps, train.lr, train.momentum) == (batch, steps, 0.1, 0.9)
        assert (train.weight_decay, train.nesterov) == (1e-4, False)
        assert (train.warmup, train.warmup_lr) == ((400, 0.01) if depth == "110" else (0, None))
        model = config.model.model_dump()
        assert (model["shortcut"], model["depth"]) == ("A" if kind == "resnet" else "none", int(depth))
        assert config.data.model_dump()["augment"] == ("he" if name == "fig4" else "crop-flip")


def test_names_of_depth_and_width_are_right() -> None:
    for config in read("surface-depth"):
        assert config.variant.split("-")[1] == str(config.model.model_dump()["depth"])
    for config in read("surface-width"):
        assert float(config.variant.split("-")[2]) == config.model.model_dump()["width"]


def test_variants_differ_in_what_their_names_say() -> None:
    """Figure 2 compares normalisations and nothing else."""
    configs = {config.variant: config for config in read("batchnorm-fig2")}
    norms = {name: getattr(config.model, "norm", None) for name, config in configs.items()}
    assert norms == {"standard": "none", "batchnorm": "batch", "noisy": "noisy-batch", "control": "noise"}
    assert len({config.train for config in configs.values()}) == 1


def test_shipped_configurations_are_found_by_name_and_are_right() -> None:
    assert "quickstart" in shipped_configurations()
    for name, path in shipped_configurations().items():
        assert find(name) == path
        for config in read(name):
            assert config.name == name


def test_a_file_of_that_name_comes_before_a_shipped_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("name: exp\ndata: {name: digits}\nmodel: {name: vgg}\n")
    assert read("quickstart")[0].name == "exp"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.yaml", "nowhere.yaml: there is no such file\n  paths count from the folder that you are in"),
        ("some/where", "some/where: there is no such file\n  paths count from the folder that you are in"),
        (".", ".: is a folder; a configuration is a YAML file"),
        ("x" * 300, f"{'x' * 300}: cannot be read: File name too long"),
    ],
)
def test_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError) as caught:
        read(source)
    assert str(caught.value) == message


def test_a_shipped_name_that_is_nearly_right_is_offered() -> None:
    with pytest.raises(RequestError, match=r"ships with lossviz; did you mean quickstart\?\n  shipped: "):
        read("quickstrat")


@pytest.mark.parametrize("source", ["quickstrt", "", "a\0b"])
def test_no_such_name_says_which_there_are(source: str) -> None:
    with pytest.raises(
        RequestError, match=r"no configuration of that name ships with lossviz.*\n  shipped: .*quickstart"
    ):
        read(source)
