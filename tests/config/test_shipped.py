"""The configurations that come with lossviz."""

import pytest

from lossviz.config import read
from lossviz.config.reading import shipped_configurations


@pytest.mark.parametrize("name", shipped_configurations())
def test_each_is_read_under_its_own_name(name: str) -> None:
    configs = read(name)
    assert configs
    assert {config.name for config in configs} == {name}


def test_the_paper_s_figures_are_there() -> None:
    figures = {f"batchnorm-{figure}" for figure in ("fig1", "fig2", "fig3", "fig4", "dln", "lp", "small")}
    assert {"quickstart", *figures} <= set(shipped_configurations())


def test_variants_differ_in_what_their_names_say() -> None:
    """Figure 2 compares normalisations and nothing else."""
    configs = {config.variant: config for config in read("batchnorm-fig2")}
    norms = {name: getattr(config.model, "norm", None) for name, config in configs.items()}
    assert norms == {"standard": "none", "batchnorm": "batch", "noisy": "noisy-batch", "control": "noise"}
    assert len({config.train for config in configs.values()}) == 1
