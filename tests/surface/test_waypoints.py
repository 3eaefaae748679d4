"""Checkpoints in a plane: their own loss, their place, and what the plane says there."""

from pathlib import Path

import pytest

from tests.surface.scans import checkpoint, loss_of, scanned, surface_of


def test_three_checkpoints_in_a_plane_have_their_own_losses(trained: Path) -> None:
    """(0, 0), (1, 0) and (0, 1), with statistics that move along; the grid agrees with the waypoints."""
    checkpoint(trained, 1, 0.05)
    checkpoint(trained, 2, -0.04)
    setup = scanned(
        trained,
        "surface.directions={kind: toward, checkpoints: [1, 2]}",
        "surface.batch_norm=interpolate",
        "surface.data.choose=first",
        "surface.x=[0, 1, 3]",
        "surface.y=[0, 1, 3]",
    )
    found = surface_of(trained)
    losses = {"step 3": loss_of(setup, 3), "step 1": loss_of(setup, 1), "step 2": loss_of(setup, 2)}
    assert len(set(losses.values())) == 3
    for name, place in (("step 3", (0, 0)), ("step 1", (1, 0)), ("step 2", (0, 1))):
        here = found.sel(checkpoint=name)
        assert float(here.checkpoint_loss) == pytest.approx(losses[name], rel=1e-5)
        assert float(here.checkpoint_plane_loss) == pytest.approx(losses[name], rel=1e-5)
        assert float(found.loss.sel(x=place[0], y=place[1])) == pytest.approx(losses[name], rel=1e-5)
        assert (float(here.checkpoint_x), float(here.checkpoint_y)) == pytest.approx(place, abs=1e-5)
        assert float(here.checkpoint_distance) == pytest.approx(0, abs=1e-4)
    assert list(found.checkpoint.values) == ["step 3", "step 1", "step 2"]
    assert "trajectory" not in found.attrs


def test_the_trajectory_of_a_run(trained: Path) -> None:
    """All checkpoints in order, each with its own loss and its place in the plane in which they spread most."""
    for step, shift in ((0, 0.2), (1, 0.1), (2, 0.04), (4, -0.05)):
        checkpoint(trained, step, shift)
    setup = scanned(
        trained,
        "surface.checkpoint=3",
        "surface.directions={kind: pca}",
        "surface.data.choose=first",
        "surface.x=[auto, auto, 5]",
        "surface.y=[auto, auto, 3]",
    )
    found = surface_of(trained)
    assert found.attrs["trajectory"] == 1
    assert list(found.checkpoint.values) == [f"step {step}" for step in range(5)]
    for step in range(5):
        own = float(found.sel(checkpoint=f"step {step}").checkpoint_loss)
        assert own == pytest.approx(loss_of(setup, step), rel=1e-5)
    centre = found.sel(checkpoint="step 3")
    assert float(centre.checkpoint_distance) == pytest.approx(0, abs=1e-6)
    assert (float(centre.checkpoint_x), float(centre.checkpoint_y)) == pytest.approx((0, 0), abs=1e-6)
    for axis in ("x", "y"):
        places = found[f"checkpoint_{axis}"]
        assert float(found[axis].min()) < float(places.min()) <= float(places.max()) < float(found[axis].max())
    assert 0 < found.attrs["y_explained_variance"] < found.attrs["x_explained_variance"] < 1
    before = setup.run.surface_file("main").read_bytes()
    scanned(
        trained,
        "surface.checkpoint=3",
        "surface.directions={kind: pca}",
        "surface.data.choose=first",
        "surface.x=[auto, auto, 5]",
        "surface.y=[auto, auto, 3]",
    )
    assert setup.run.surface_file("main").read_bytes() == before
