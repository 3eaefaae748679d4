"""Scans with `surface.accuracy`: against the exact scan, over restarts and refinements."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lossviz.config import read
from lossviz.data.collated import CollatedSplit
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import Stopped
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.order import shared_order
from lossviz.surface.sampled.plane import SampledPlane
from lossviz.surface.sampled.scan import sampling_task
from tests.surface.scans import SAMPLED, StopAfter, configured, same, scanned, surface_of


def test_a_sampled_scan_agrees_with_the_exact_one(trained: Path) -> None:
    """To its own standard errors, which are as small as was asked for; with fewer examples."""
    scanned(trained, *SAMPLED, "surface.data.split=both", "surface.data.examples=360")
    scanned(trained, *SAMPLED, "surface.data.split=both", "surface.data.examples=360", "surface.accuracy=exact",
            "surface.name=exact")  # fmt: skip
    found, exact = surface_of(trained), surface_of(trained, "exact")
    for prefix in ("", "test_"):
        loss, stderr, examples = (found[f"{prefix}{name}"] for name in ("loss", "loss_stderr", "examples"))
        assert float((stderr / loss).max()) <= 0.1
        assert float((abs(loss - exact[f"{prefix}loss"]) / stderr.where(stderr > 0)).max()) < 5
        whole = examples == 360
        np.testing.assert_allclose(loss.values[whole], exact[f"{prefix}loss"].values[whole], rtol=1e-6)
        assert float(examples.mean()) < 300
        error = found[f"{prefix}error_stderr"]
        assert float((abs(found[f"{prefix}error"] - exact[f"{prefix}error"]) / error.where(error > 0)).max()) < 5
        own = np.sqrt((found[f"{prefix}loss_deviation"] ** 2).sum("group"))
        np.testing.assert_allclose(own, stderr, rtol=1e-9)
    np.testing.assert_array_equal(found.penalty, exact.penalty)


def test_it_resumes_bitwise(trained: Path) -> None:
    """Stopped among the coarse points and among the others, and after the samples were lost."""
    scanned(trained, *SAMPLED, "surface.name=whole")
    whole = surface_of(trained, "whole")
    for points in (3, 14, 5):
        with pytest.raises(Stopped):
            scanned(trained, *SAMPLED, stop=StopAfter(points))
    for lost in sorted((run_of(configured(), trained).samples_folder("main")).iterdir())[:2]:
        lost.write_bytes(b"cut short")
    scanned(trained, *SAMPLED)
    same(surface_of(trained), whole)


def test_a_refined_scan_is_the_finer_one(trained: Path) -> None:
    """Where the coarse points stay the same."""
    fine = (*SAMPLED, "surface.x=[-1, 1, 5]", "surface.y=[-0.5, 0.5, 5]")
    scanned(trained, *SAMPLED, "surface.x=[-1, 1, 3]", "surface.y=[-0.5, 0.5, 3]")
    scanned(trained, *fine)
    scanned(trained, *fine, "surface.name=whole")
    same(surface_of(trained), surface_of(trained, "whole"))


def test_a_refined_scan_computes_coarse_points_again_whose_samples_are_gone(trained: Path) -> None:
    """Also those that were not finite, near which nothing is estimated from the others."""
    coarse = (*SAMPLED, "surface.x=[-1e20, 1e20, 5]", "surface.y=null")
    scanned(trained, *coarse)
    assert (surface_of(trained).status == 2).any()
    shutil.rmtree(run_of(configured(*coarse), trained).samples_folder("main"))
    scanned(trained, *coarse, "surface.x=[-1e20, 1e20, 9]")
    assert (surface_of(trained).status != 0).all()


@pytest.mark.parametrize("accuracy", ["{absolute: 0.5}", "{range: 5%}"])
def test_other_accuracies(trained: Path, accuracy: str) -> None:
    scanned(trained, *SAMPLED, f"surface.accuracy={accuracy}")
    found = surface_of(trained)
    most = 0.5 if "absolute" in accuracy else 0.05 * found.attrs["loss_range"]
    assert float(found.loss_stderr.max()) <= most
    if "range" in accuracy:
        assert found.attrs["loss_range"] == pytest.approx(float(found.loss.max() - found.loss.min()), rel=0.3)


def test_losses_that_are_not_finite_are_kept(trained: Path) -> None:
    """The corners of a plane that is far too large; points beside them are estimated by themselves."""
    scanned(trained, *SAMPLED, "surface.x=[-1e20, 1e20, 7]")
    found = surface_of(trained)
    bad = found.status == 2
    assert bool(bad.any())
    assert not np.isfinite(found.loss.values[bad]).any()
    assert np.isfinite(found.loss.values[~bad]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["surface.batch_norm=batch"], "the loss of an example depends on the examples beside it"),
        (["surface.metrics=[gradient]"], "surface.metrics"),
        (["surface.accuracy=0"], "above 0"),
        (["surface.accuracy=-2%"], "above 0"),
        (["surface.accuracy=101%"], "at most 100%"),
        (["surface.accuracy={relative: 2%}"], "{range: a share}"),
        (["surface.accuracy={absolute: 0}"], "a number above 0"),
        (["surface.accuracy=fine"], "a share, such as 2%"),
    ],
)
def test_what_cannot_be_sampled_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(RequestError, match="accuracy") as caught:
        read("quickstart", ["surface.accuracy=2%", *settings], ("batchnorm",))
    assert words in str(caught.value)


def test_fewer_examples_than_a_pilot_are_refused(trained: Path) -> None:
    with pytest.raises(RequestError, match="there are 100 examples, and every point begins with 128"):
        scanned(trained, *SAMPLED, "surface.data.examples=100")
    assert not run_of(configured(), trained).surface_file("main").exists()


def test_a_loss_of_the_batch_is_refused(trained: Path) -> None:
    plan = ScanPlan(prepare(configured(*SAMPLED), run_of(configured(), trained), "cpu"))

    def contrastive(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - outputs.mean(dim=0)).square().sum(dim=1) + 0 * targets

    objective = Objective(plan.objective.model, contrastive)
    with pytest.raises(RequestError, match="the loss of an example depends on the examples beside it"):
        shared_order(plan.splits[""], objective, 0, by_batch=False)
    with pytest.raises(RequestError, match="BatchNorm needs running statistics"):
        shared_order(plan.splits[""], plan.objective, 0, by_batch=True)


def test_where_memory_runs_out_both_precisions_take_smaller_batches(trained: Path) -> None:
    config = configured(*SAMPLED)
    plan = ScanPlan(prepare(config, run_of(config, trained), "cpu"))
    forward, low = (Forward(plan.objective, ExecutionPlan(64), beside=beside) for beside in (False, True))
    plane = plan.plane(plan.subspace, plan.directions().vectors, forward)
    point = SampledPlane(plane, sampling_task(plan, math.nan), Grid.empty((-1, 1, 3), None, ()), low)
    point((0,))
    assert low.plan.batch_size == 64
    forward.halve()
    point((0,))
    assert low.plan.batch_size == forward.plan.batch_size == 32


class Graphs(torch.utils.data.Dataset[torch.Tensor]):
    """Examples of different sizes, in batches that nobody else can take apart."""

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.linspace(0, index / 100, 2 + index % 3)[:, None]

    @staticmethod
    def collate_fn(examples: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        graphs = torch.cat([torch.full((len(each),), float(i)) for i, each in enumerate(examples)])
        return {"nodes": torch.cat(examples), "graph": graphs}


@pytest.mark.parametrize("dependent", [False, True])
def test_a_loss_of_a_batch_of_graphs_is_refused(dependent: bool) -> None:
    one = torch.ones(1, 1, 1)
    split = CollatedSplit(Graphs(), range(200), 0 * one, one, 0)

    def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        graph = batch["graph"].long()
        found = torch.zeros(int(graph.max()) + 1).index_add(0, graph, model(batch["nodes"])[:, 0])
        return (found - found.mean()).square() if dependent else found.square()

    objective = Objective(torch.nn.Linear(1, 1), loss)
    if not dependent:
        assert len(shared_order(split, objective, 0, by_batch=False)) == 200
        return
    with pytest.raises(RequestError, match="the loss of an example depends on the examples beside it"):
        shared_order(split, objective, 0, by_batch=False)
