"""The largest eigenvalues of the Hessian; see tests/engine/test_curvature.py and test_lanczos.py for how."""

import numpy as np
from torch import Tensor

from lossviz.config.probe import Probe, Sharpness
from lossviz.data.minibatches import Minibatch
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.probe.measure import Step
from lossviz.probe.measures import sharpness as measure
from tests.closed_forms import Quadratic, TwoLayers


def sharpness(objective: Objective, batches: list[Minibatch], count: int) -> Tensor:
    config = Probe(sharpness=Sharpness(eigenvalues=count))
    step = Step(objective, batches[0], config, subset=batches[1:] and batches)
    return measure.sharpness(step)["hessian_eigenvalue"]


def test_quadratic() -> None:
    quadratic = Quadratic(size=12)
    found = sharpness(quadratic.objective, [quadratic.batch], 3)
    np.testing.assert_allclose(found, np.sort(quadratic.eigenvalues)[::-1][:3], rtol=1e-4)


def test_ragged_batches_weigh_by_their_examples() -> None:
    layers = TwoLayers()
    whole = layers.batch
    parts = [Minibatch((whole.inputs[a:b], whole.targets[a:b]), 0) for a, b in ((0, 4), (4, 8), (8, 9))]
    np.testing.assert_allclose(
        sharpness(layers.objective, parts, 2), sharpness(layers.objective, [whole], 2), rtol=1e-6
    )


def test_more_eigenvalues_than_there_are() -> None:
    """Of a tiny network the whole spectrum may be asked for, and more."""
    quadratic = Quadratic(size=4)
    found = sharpness(quadratic.objective, [quadratic.batch], 6)
    np.testing.assert_allclose(found, [*np.sort(quadratic.eigenvalues)[::-1], np.nan, np.nan])


def test_no_curvature_and_not_finite() -> None:
    quadratic = Quadratic()
    quadratic.objective.loss = OfOutputs(lambda outputs, _: outputs.sum(dim=1))
    np.testing.assert_allclose(sharpness(quadratic.objective, [quadratic.batch], 2), [0, 0], atol=1e-12)
    quadratic.objective.loss = OfOutputs(lambda outputs, _: (outputs * float("inf")).square().sum(dim=1))
    assert sharpness(quadratic.objective, [quadratic.batch], 2).isnan().all()
