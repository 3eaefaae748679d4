import pytest
from matplotlib.figure import Figure

from lossviz.config import read
from lossviz.config.model import ImagenetResnet, Resnet
from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.published.curves import published
from lossviz.plot.series import Options
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build
from tests.plot.networks import FIGURE_4, FIGURE_6, drawn, falling, members, run

HE = "He et al. 2015"


def published_lines(figure: Figure) -> list[int]:
    return [len(labelled(ax.lines, HE)) for ax in figure.axes]


@pytest.mark.parametrize(
    ("settings", "depth", "last"),
    [
        # protocols: the ends of training and validation, plain then residual.
        (FIGURE_4, 18, [(31.4, 31.3), (30.1, 31.0)]),
        (FIGURE_4, 34, [(32.2, 32.4), (24.8, 28.2)]),
        (FIGURE_6, 20, [(1.5, 9.7), (0.81, 8.8)]),
        (FIGURE_6, 32, [(1.2, 10.1), (0.26, 7.5)]),
        (FIGURE_6, 44, [(3.2, 11.4), (0.11, 7.2)]),
        (FIGURE_6, 56, [(5.9, 13.2), (0.03, 7.0)]),
    ],
)
def test_counterparts_have_the_published_curves(
    build: Build, settings: list[str], depth: int, last: list[tuple[float, float]]
) -> None:
    long, end = (falling(600_000), 55.1) if settings is FIGURE_4 else (falling(64_000), 6.4)
    runs = run(build, "a", "none", depth, long, settings), run(build, "b", "A", depth, long, settings)
    figure = drawn(*runs, reference=True)
    assert HE in legend(figure)
    for ax, ends, each in zip(figure.axes, last, members(*runs), strict=True):
        lines = labelled(ax.lines, HE)
        assert [ys(line)[-1] for line in lines] == [pytest.approx(end, abs=0.051) for end in ends]
        assert lines[0].get_linewidth() < lines[1].get_linewidth()
        assert xs(lines[0])[-1] == pytest.approx(end, abs=0.15)
        # The table has the same, rounded.
        final = each.final
        for line, key in zip(lines, ("training", "validation"), strict=True):
            digits = len(final[key].partition(".")[2])
            assert ys(line)[-1] == pytest.approx(float(final[key]), abs=0.6 * 10**-digits)
    assert published_lines(drawn(*runs)) == [0, 0]


@pytest.mark.parametrize(
    "change",
    [
        "model.width=0.5",
        "model.norm=none",
        "model.shortcut=B",
        "model.depth=26",
        "data.augment=none",
        "data.examples=10000",
        "data={name: digits, augment: crop-flip}",
        "train.lr=0.05",
        "train.batch_size=256",
        "train.weight_decay=5.0e-4",
        "train.momentum=0.0",
        "train.nesterov=true",
        "train={steps: 2000, schedule: {kind: constant}}",  # the published curve begins later
        "train.schedule={kind: cosine}",
        "train.schedule={kind: step, milestones: [32000]}",
        "train.schedule={kind: constant}",
        "train.schedule={kind: plateau, patience: 3}",
        "train.warmup=100",
        "train.micro_batch=16",
        "model.init=glorot",
        "data.mean=[0, 0, 0]",
    ],
)
def test_other_trainings_have_none(build: Build, change: str) -> None:
    model = "model={name: resnet, depth: 20, shortcut: A}"
    settings = [*FIGURE_6, model, "variants={a: {}}"]
    counterpart = build.run("a", "one", settings, train=falling(64_000))
    other = build.run("a", "two", [*settings, change], train=falling(64_000))
    assert published_lines(drawn(counterpart, reference=True)) == [2]
    assert published_lines(drawn(other, reference=True)) == [0]


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ("data.image_size=64", 0),
        ("data.augment=random-resized-crop", 0),
        ("data.evaluation=ten-crop", 1),  # the published validation curve is of the centre crop
        ("model.depth=50", 0),
        ("train.schedule={kind: plateau, patience: 3}", 2),
        ("train.micro_batch=64", 2),
    ],
)
def test_other_images_have_none(build: Build, change: str, lines: int) -> None:
    model = "model={name: resnet-imagenet, depth: 18, shortcut: A}"
    other = build.run("a", "two", [*FIGURE_4, model, "variants={a: {}}", change], train=falling(600_000))
    assert published_lines(drawn(other, reference=True)) == [lines]


@pytest.mark.parametrize(("outputs", "lines"), [(1000, 2), (20, 0)])
def test_other_classes_than_imagenet_s_have_none(build: Build, outputs: int, lines: int) -> None:
    results = falling(600_000).assign_attrs(outputs=outputs)
    (found,) = members(run(build, "a", "A", 18, results, FIGURE_4), reference=True)
    assert len(found.published) == lines
    assert bool(found.final) == bool(lines)


def test_a_shorter_training_has_the_curves_and_not_the_ends(build: Build) -> None:
    settings = [*FIGURE_6, "train={steps: 10000, schedule: {kind: constant}}"]
    (found,) = members(run(build, "a", "A", 20, falling(10_000), settings), reference=True)
    assert set(found.published) == {"train_error", "val_error"}
    assert found.final == {}


@pytest.mark.parametrize(
    ("name", "with_curves"),
    [
        ("resnet-fig4", {18, 34}),
        ("resnet-fig6", {20, 32, 44, 56, 110}),
        ("resnet-fig4-small", set()),
        ("resnet-fig6-small", set()),
    ],
)
def test_shipped_configurations_are_counterparts_but_the_small_ones(name: str, with_curves: set[int]) -> None:
    found: set[int] = set()
    for config in read(name):
        assert isinstance(config.model, Resnet | ImagenetResnet)
        fits = config.model.depth in with_curves and (config.model.depth, config.model.shortcut) != (110, "none")
        assert set(published("residual", config)) == ({"train_error", "val_error"} if fits else set())
        found |= {config.model.depth} if fits else set()
    assert found == with_curves


def test_when_nothing_fits_the_conditions_are_named(build: Build) -> None:
    runs = [run(build, "a", "none", 20, falling()), run(build, "b", "A", 20, falling())]
    with pytest.raises(RequestError) as error:
        draw(runs, figures=["residual"], options=Options(reference=True))
    for needed in (HE, "image_size 224", "model resnet of depth 20, 32, 44, 56, or 110", "width 1"):
        assert needed in str(error.value)
