"""Pages without a browser: what their figures hold, and that nothing is fetched."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from lossviz.errors import RequestError
from lossviz.plot.export.page import line_page
from lossviz.plot.export.plane_page import plane_page
from lossviz.plot.series import Options
from lossviz.results import variable
from tests.plot.conftest import Build


def bowl(x: Any, y: Any) -> Any:
    return np.where((x > 0.9) & (y > 0.4), np.nan, 1 + 99 * x**2 + y**2 + x / 10)


def figures(page: bytes) -> dict[str, Any]:
    found = re.search(r'<script id="figures" type="application/json">(.*?)</script>', page.decode(), re.S)
    assert found
    assert "<" not in found[1]
    return dict(json.loads(found[1]))


def array(coded: Any) -> np.ndarray:
    """What plotly.js makes of an array of plotly.py."""
    if not isinstance(coded, dict):
        return np.array(coded, dtype=float)
    flat = np.frombuffer(base64.b64decode(coded["bdata"]), coded["dtype"])
    shape = coded.get("shape")
    return flat.reshape([int(size) for size in shape.split(",")]) if shape else flat


def test_surfaces_have_the_losses_at_their_places(build: Build) -> None:
    shown = figures(plane_page("title", build.series(build.surface(bowl, x=7, y=5))))
    x, y = np.linspace(-1, 1, 7), np.linspace(-0.5, 0.5, 5)
    expected = bowl(*np.meshgrid(x, y))
    for scale, heights in (("linear", expected), ("log", np.log10(expected))):
        surface = shown["panel-0"][scale]["data"][0]
        np.testing.assert_array_equal(array(surface["x"]), x)
        np.testing.assert_array_equal(array(surface["y"]), y)
        np.testing.assert_allclose(array(surface["z"]), heights)
        np.testing.assert_array_equal(array(surface["customdata"])[..., 0], expected)
        np.testing.assert_allclose(array(surface["customdata"])[..., 1], 10 * expected)
        assert surface["connectgaps"] is False
    assert "loss %{customdata[0]:" in surface["hovertemplate"]
    assert "error %{customdata[1]:" in surface["hovertemplate"]


def test_all_runs_share_one_scale(build: Build) -> None:
    series = build.series(build.surface(lambda x, y: 1 + x**2), build.surface(lambda x, y: 5 + x**2))
    shown = figures(plane_page("title", series))
    surfaces = [shown[f"panel-{place}"]["linear"]["data"][0] for place in (0, 1)]
    assert {(each["cmin"], each["cmax"]) for each in surfaces} == {(1.0, 6.0)}
    assert len({tuple(shown[f"panel-{place}"]["linear"]["layout"]["scene"]["zaxis"]["range"]) for place in (0, 1)}) == 1
    bar = shown["bar"]["linear"]["data"][0]["marker"]
    assert (bar["cmin"], bar["cmax"]) == (1.0, 6.0)


def test_clipping_changes_what_is_drawn_and_not_what_is_read(build: Build) -> None:
    shown = figures(plane_page("title", build.series(build.surface(bowl)), Options(clip=(2.0, 50.0))))
    surface = shown["panel-0"]["linear"]["data"][0]
    assert (np.nanmin(array(surface["z"])), np.nanmax(array(surface["z"]))) == (2, 50)
    assert np.nanmax(array(surface["customdata"])[..., 0]) > 100
    assert "clipped to [2, 50]" in shown["bar"]["linear"]["data"][0]["marker"]["colorbar"]["title"]["text"]


@pytest.mark.parametrize(("log", "start"), [(None, "log"), (False, "linear"), (True, "log")])
def test_the_scale_it_begins_with(build: Build, log: bool | None, start: str) -> None:
    assert (
        f'await show("{start}");' in plane_page("title", build.series(build.surface(bowl)), Options(log=log)).decode()
    )


def test_without_a_logarithm_there_is_no_button_for_it(build: Build) -> None:
    page = plane_page("title", build.series(build.surface(lambda x, y: x)))
    assert set(figures(page)["panel-0"]) == {"linear"}
    assert '<button type="button" data-scale="log" aria-pressed="false" disabled' in page.decode()


def test_the_path_lies_at_the_loss_in_the_plane(build: Build) -> None:
    results = build.surface(bowl)
    values = {"x": [0.5, 0.0, 7.0], "y": [0.1, 0.2, 0.3], "loss": [3.0, 2.0, 1.0], "plane_loss": [40.0, 2.0, 9.0]}
    for name, each in values.items():
        results[f"checkpoint_{name}"] = variable("checkpoint", each, name, "1")
    results = results.assign_coords(checkpoint=["step 0", "step 50", "<far>"]).assign_attrs(trajectory=1)
    surface, line, path = figures(plane_page("title", build.series(results)))["panel-0"]["linear"]["data"]
    assert (line["mode"], path["mode"]) == ("lines", "markers")
    np.testing.assert_array_equal(array(line["x"]), values["x"][:2])  # the steps
    np.testing.assert_array_equal(array(path["x"]), values["x"])
    height = array(path["z"])
    lift = 0.02 * (surface["cmax"] - surface["cmin"])
    assert 40 < height[0] < 40 + lift
    assert np.isnan(height[2])  # outside the plane
    assert path["text"][0] == "step 0<br>loss at its place in the plane 40 nats<br>its own loss 3 nats"
    assert path["text"][2].startswith("&lt;far&gt;<br>")


def test_the_centre_is_marked_where_nothing_else_is_known(build: Build) -> None:
    (_, mark) = figures(plane_page("title", build.series(build.surface(bowl))))["panel-0"]["linear"]["data"]
    assert (array(mark["x"]).item(), array(mark["y"]).item(), mark["mode"]) == (0, 0, "markers")


def test_holes_and_missing_points_are_said_and_names_are_escaped(build: Build) -> None:
    results = build.surface(bowl)
    results.attrs |= {"experiment": "a</script><b>", "variant": "v", "examples": 1000, "checkpoint": "a/b/step-1.x"}
    text = plane_page("</title>", build.series(results, build.surface(bowl, done=30))).decode()
    assert "1 point is not finite (hole)" in text
    assert "partial: 30 of 35 points" in text
    assert "a&lt;/script&gt;&lt;b&gt;/v · checkpoint step-1.x · examples 1,000 (train)" in text
    assert "&lt;/title&gt;</title>" in text
    assert text.rsplit("<body>", 1)[1].count("</title>") == 0


def test_what_is_not_usual_of_the_protocol_is_said(build: Build) -> None:
    plane, line = build.surface(bowl), build.surface(lambda x, _: 1 + x**2, y=0)
    other = {"split": "test", "batch_norm": "interpolate"}
    text = plane_page("title", build.series(plane.assign_attrs(other))).decode()
    assert "<b>test set</b><br><b>BatchNorm: interpolate</b><br>" in text
    text = line_page("title", build.series(line, line.assign_attrs(other))).decode()
    assert "<b>batchnorm: test set, BatchNorm: interpolate</b>" in text
    assert "<b>standard:" not in text


def test_a_line_joins_the_known_points_of_a_partial_scan(build: Build) -> None:
    line = build.surface(lambda x, _: np.where(x < -0.9, np.inf, 1 + x), y=0)
    known = np.array([True, False, True, False, True, True, False])
    line["loss"], line["status"] = line.loss.where(known), line.status.where(known, 0)
    (curve,) = figures(line_page("title", build.series(line)))["panel-0"]["linear"]["data"]
    np.testing.assert_array_equal(array(curve["x"]), line.x[known])
    np.testing.assert_array_equal(array(curve["y"]), np.r_[np.nan, line.loss[known][1:]])
    np.testing.assert_array_equal(array(curve["customdata"]), line.loss[known])


def test_every_run_and_split_of_a_page_has_its_own_dashes(build: Build) -> None:
    line = build.surface(lambda x, _: 1 + x**2, y=0)
    line["test_loss"] = line.loss + 1
    curves = figures(line_page("title", build.series(line, line, line)))["panel-0"]["linear"]["data"]
    train, test = ({each["line"]["dash"] for each in curves[split::2]} for split in (0, 1))
    assert len(train) == 3
    assert not train & test


def test_the_axis_of_a_line_holds_the_test_loss(build: Build) -> None:
    line = build.surface(lambda x, _: 0.1 + x**2, y=0)
    page = line_page("title", build.series(line.assign(test_loss=line.loss + 3)))
    low, high = figures(page)["panel-0"]["linear"]["layout"]["yaxis"]["range"]
    assert low < 0.1
    assert high > 4.1


def test_a_page_without_a_finite_point_has_holes_only(build: Build) -> None:
    results = build.surface(lambda x, y: np.inf * (1 + 0 * x))
    results["error"] = np.nan * results.error
    (surface, *_) = figures(plane_page("title", build.series(results)))["panel-0"]["linear"]["data"]
    assert np.isnan(array(surface["z"])).all()


def test_the_pointer_shows_all_that_was_measured(build: Build) -> None:
    results = build.surface(bowl)
    more = results.assign(loss_pde=results.loss, examples=(("y", "x"), np.full(results.loss.shape, 128)))
    (surface, *_) = figures(plane_page("title", build.series(more)))["panel-0"]["linear"]["data"]
    assert "examples<br>pde %{customdata" in surface["hovertemplate"]


def test_nothing_is_fetched_and_bytes_repeat(build: Build) -> None:
    series = build.series(build.surface(bowl))
    page = plane_page("title", series)
    assert page == plane_page("title", series)
    text = page.decode()
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text.split("<script>", 1)[0])
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text.rsplit("<body>", 1)[1])


def test_more_surfaces_than_a_browser_draws_are_refused(build: Build) -> None:
    series = build.series(build.surface(bowl, x=3, y=3)) * 13
    with pytest.raises(RequestError, match="13 runs are more than the 12"):
        plane_page("title", series)


def test_lines_have_loss_and_error(build: Build) -> None:
    line = build.surface(lambda x, _: np.where(x > 0.9, np.inf, 1 + 99 * x**2), y=0)
    line["test_loss"] = line.loss + 1
    page = line_page("title", build.series(line, line), Options(clip=(1.0, 20.0)))
    shown = figures(page)
    loss, test, _, _ = shown["panel-0"]["log"]["data"]
    expected = np.where(line.x.values > 0.9, np.nan, np.clip(1 + 99 * line.x.values**2, 1, 20))
    np.testing.assert_allclose(array(loss["y"]), expected)
    np.testing.assert_array_equal(array(loss["customdata"]), line.loss.values)
    assert test["name"] == "standard, test"
    assert shown["panel-0"]["log"]["layout"]["yaxis"]["type"] == "log"
    assert shown["panel-0"]["linear"]["layout"]["yaxis"]["type"] == "linear"
    np.testing.assert_array_equal(array(shown["panel-1"]["log"]["data"][0]["y"]), line.error.values)
    assert "standard: 1 point is not finite (hole)" in page.decode()
