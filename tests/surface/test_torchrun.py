"""A scan that processes of lossviz 0.1 under torchrun left unfinished: points in files beside the result file."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from lossviz.results import load_results, save_results
from lossviz.run import run_of
from lossviz.signals import Stopped
from lossviz.surface.grid import Grid
from lossviz.surface.sampled.files import SampleFiles
from lossviz.surface.sampled.lattice import Lattice
from tests.surface.scans import StopAfter, configured, same, scanned, surface_of

SAMPLED = ("surface.accuracy=10%", "surface.data.examples=200")


@pytest.mark.parametrize("settings", [(), SAMPLED])
def test_its_blocks_are_taken_over(trained: Path, settings: tuple[str, ...]) -> None:
    """Nothing that they hold is computed again, and none is left."""
    scanned(trained, *settings, "surface.name=whole")
    with pytest.raises(Stopped):
        scanned(trained, *settings, stop=StopAfter(2))
    run = run_of(configured(), trained)
    whole, file = surface_of(trained, "whole"), run.surface_file("main")
    left = load_results(file)
    flat = [int(i) for i in np.flatnonzero(left.status.values.ravel() == 0)]
    for place, points in enumerate((flat[:3], flat[3:7])):
        names = [name for name in whole.data_vars if name == "seconds" or (str(name) in left and name != "status")]
        names = [name for name in names if whole[name].dims[:2] == ("y", "x")]
        block = {name: _at(whole[name], points) for name in names}
        block["seconds"][1][:] = 77.0
        save_results(run.blocks_folder("main") / f"{place:08d}.nc", xr.Dataset(block, {"point": points}))
    if settings:
        grid, there = Grid.of(whole), SampleFiles(run.samples_folder("whole"))
        for where in ({"y": 0.0, **grid.where(index)} for index in Lattice(grid.status.shape).points):
            SampleFiles(run.samples_folder("main")).save(where, there.load(where))
    scanned(trained, *settings)
    found = surface_of(trained)
    same(found, whole)
    assert set(np.flatnonzero(found.seconds.values.ravel() == 77.0)) == set(flat[:7])
    assert not run.blocks_folder("main").exists()


def _at(array: xr.DataArray, points: list[int]) -> tuple[tuple[str, ...], np.ndarray]:
    values = array.values.reshape(-1, *array.shape[2:])[points]
    return (("point", "group") if values.ndim > 1 else ("point",)), values
