"""Plain and residual networks among some runs: their names, their families, and whether they compare."""

import numpy as np
import pytest

from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from tests.plot.conftest import Build
from tests.plot.networks import FIGURE_4, SMALL, curves, falling, members, run


def test_names_are_those_of_the_paper_and_tell_runs_apart(build: Build) -> None:
    shapes = [("a", "A", 34), ("b", "B", 34), ("c", "C", 34), ("d", "B", 50), ("e", "none", 34), ("f", "none", 34)]
    found = members(*(run(build, *shape, falling(), FIGURE_4) for shape in shapes))
    names = {each.run: each.label for each in found}
    assert names == {
        "a": "ResNet-34",
        "b": "ResNet-34 B",
        "c": "ResNet-34 C",
        "d": "ResNet-50",
        "e": "plain-34 (e)",
        "f": "plain-34 (f)",
    }
    lines = {each.run: str(each.look.line) for each in found}
    assert len({lines[name] for name in "abc"}) == 3
    assert lines["e"] != lines["f"]
    settings = [*SMALL, "model={name: resnet, depth: 20, shortcut: none, width: 0.5}", "variants={narrow: {}}"]
    assert members(build.run("narrow", settings=settings, train=falling()))[0].label == "plain-20 ×0.5"


def test_the_figure_is_drawn_unasked_where_there_is_something_to_compare(build: Build) -> None:
    plain, skipping = run(build, "a", "none", 20, falling()), run(build, "b", "B", 20, falling())
    other = build.run(train=build.train())
    assert "residual" in {path.stem for path in draw([plain, skipping, other])}
    assert {path.stem for path in draw([plain, other])} == {"training"}
    assert {path.name for path in draw([plain], figures=["residual"])} == {"residual.png", "residual-table.md"}
    with pytest.raises(RequestError, match=r"residual: no train\.nc .* lossviz train resnet-fig6-small"):
        draw([other], figures=["residual"])


def test_without_an_error_there_is_no_figure(build: Build) -> None:
    regression = run(build, "a", "none", 20, curves(np.full(200, np.nan), np.full(5, np.nan)))
    with pytest.raises(RequestError, match="nothing to draw"):
        draw([regression], figures=["residual"])


def test_networks_of_two_families_are_two_figures(build: Build) -> None:
    runs = [
        run(build, "a", "none", 20, falling()),
        run(build, "b", "A", 20, falling()),
        run(build, "c", "A", 18, falling(), FIGURE_4),
    ]
    stems = {path.stem for path in draw(runs, figures=["residual"])}
    assert stems == {f"residual-{name}{kind}" for name in ("resnet", "resnet-imagenet") for kind in ("", "-table")}
