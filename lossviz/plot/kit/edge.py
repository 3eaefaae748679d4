"""The edge of stability: the curvature above which the steps of an optimiser no longer shrink."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lossviz.config.schedule import judged, learning_rate
from lossviz.config.train import Plateau, Train
from lossviz.plot.kit.axes import STEEP, Floats, finite
from lossviz.plot.kit.style import KEY, SMALL
from lossviz.plot.series import Series
from lossviz.results import ProbeResults

_SUBSCRIPT = "ₜ"
Rule = Callable[[Train], tuple[str, float] | None]


@dataclass(frozen=True)
class Edge:
    """The edge of one training at the measured steps.

    Attributes:
        formula: such as 2/η.
        steps: updates before each measurement.
        values: at these steps; NaN where the learning rate is 0 or not known.
    """

    formula: str
    steps: Floats
    values: Floats

    @property
    def is_constant(self) -> bool:
        """Whether one number says it."""
        return len(set(self.values.tolist())) == 1

    @property
    def text(self) -> str:
        """The formula, with its number where it has one only; where the learning rate changes, η has an index."""
        if self.is_constant:
            return f"{self.formula} = {self.values[0]:.4g}"
        return self.formula.replace("η", f"η{_SUBSCRIPT}")


def edge_formula(train: Train) -> tuple[str, float] | None:
    """How the edge follows from the learning rate η: as a formula, and the factor c of c/η; None for Adam and AdamW.

    On a quadratic of curvature a the updates v' = βv + a·x, x' = x − ηv' shrink where a < 2(1+β)/η, and those of
    Nesterov's form x' = x − η(a·x + βv') where a < 2(1+β)/(η(1+2β)). The edge of Adam, (2+2β₁)/((1−β₁)η), is one of
    the preconditioned Hessian, which is not measured.

    Source:
        Cohen et al. 2021, "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", equation 1
        and appendix B; for Adam Cohen et al. 2022, "Adaptive Gradient Methods at the Edge of Stability".
    """
    if train.optimizer != "sgd":
        return None
    beta = train.momentum
    if not beta:
        return "2/η", 2.0
    return ("2(1+β)/(η(1+2β))", 2 * (1 + beta) / (1 + 2 * beta)) if train.nesterov else ("2(1+β)/η", 2 * (1 + beta))


def step_edge(_: Train) -> tuple[str, float]:
    """The edge of the curvature along the optimiser's own step, divided by the learning rate: 2/η for all of them."""
    return "2/η", 2.0


def plain_edge(train: Train) -> tuple[str, float] | None:
    """2/η for SGD without momentum; None for others."""
    return ("2/η", 2.0) if train.optimizer == "sgd" and not train.momentum else None


def learning_rates(train: Train, steps: Floats, trained: xr.Dataset | None) -> Floats:
    """The learning rate of the update that follows each step: as train.nc recorded it, else as scheduled.

    Args:
        train: how it was trained.
        steps: updates before each measurement.
        trained: the contents of train.nc; without it the rates of the schedule `plateau` are not known (NaN).
    """
    recorded = {} if trained is None else dict(zip(trained.step.values.tolist(), trained.lr.values, strict=True))
    rates = []
    for step in steps.tolist():
        if step in recorded:
            rates.append(float(recorded[step]))
        elif not isinstance(train.schedule, Plateau):
            rates.append(learning_rate(train, step))
        elif trained is not None:
            before = trained.eval_step.values <= step
            evaluated = judged(trained.val_error.values[before].tolist(), trained.val_loss.values[before].tolist())
            rates.append(learning_rate(train, step, evaluated))
        else:
            rates.append(np.nan)
    return np.array(rates, dtype=float)


def edge_of(each: Series, rule: Rule = edge_formula) -> Edge | None:
    """The edge of a probed run; None where its optimiser has none.

    Args:
        each: the run.
        rule: how the edge follows from the learning rate; that of the Hessian's largest eigenvalue unless given.
    """
    train = ProbeResults(each.results).training
    found = None if train is None else rule(train)
    if train is None or found is None:
        return None
    formula, factor = found
    steps = each.results.step.values
    rates = each.results.lr.values if "lr" in each.results else learning_rates(train, steps, each.trained)
    return Edge(formula, steps, np.divide(factor, rates, out=np.full(len(rates), np.nan), where=rates > 0))


def edge_values(edges: Sequence[Edge | None], measured: Floats) -> Floats:
    """The edges that an axis must hold: without a vanishing learning rate, whose edge rises far beyond."""
    values = finite([each.values for each in edges if each])
    top = max(measured.max(initial=0.0), values.min(initial=np.inf) if values.size else 0.0)
    return np.asarray(values[values <= STEEP * top])


def draw_edges(ax: Axes, series: Sequence[Series], edges: Sequence[Edge | None]) -> None:
    """Draw each different edge once, dashed and named on the right; in the run's colour where it is of one of several.

    Args:
        ax: the axes, whose limits are fixed.
        series: the runs.
        edges: one for each run, or None.
    """
    owners: dict[tuple[str, ...], list[tuple[Series, Edge]]] = {}
    for each, edge in zip(series, edges, strict=True):
        if edge is not None and np.isfinite(edge.values).any():
            key = (edge.text,) if edge.is_constant else (edge.text, str(edge.steps.tolist()), str(edge.values.tolist()))
            owners.setdefault(key, []).append((each, edge))
    style: dict[str, Any] = {"linestyle": "--", "linewidth": 0.8, "zorder": 1}
    place: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "xytext": (3, 0), "textcoords": "offset points"}
    for members in owners.values():
        each, edge = members[0]
        colour = each.look.colour if len(owners) > 1 and len(members) == 1 else KEY
        if edge.is_constant:
            ax.axhline(edge.values[0], **style, color=colour, label=edge.formula)
        else:
            ax.plot(edge.steps, edge.values, **style, color=colour, drawstyle="steps-post", label=edge.formula)
        last = min(edge.values[np.isfinite(edge.values)][-1], ax.get_ylim()[1])
        ax.annotate(edge.text, (1, last), **place, ha="left", va="center", fontsize=SMALL, color=colour)


def edge_notes(series: Sequence[Series]) -> list[str]:
    """Notes that say why some runs have no edge."""
    trained = [(each, train) for each in series if (train := ProbeResults(each.results).training)]
    adaptive = [(each, train) for each, train in trained if edge_formula(train) is None]
    betas = list(dict.fromkeys(train.betas[0] for _, train in adaptive))
    notes = []
    for beta in betas:
        names = ", ".join(each.label for each, train in adaptive if train.betas[0] == beta)
        factor = (2 + 2 * beta) / (1 - beta)
        notes.append(
            f"{names}: no edge is drawn. That of Adam, {factor:.4g}/η for β₁ = {beta:g}, belongs to the "
            "preconditioned Hessian, which is not measured."
        )
    return notes
