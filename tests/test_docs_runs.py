"""The results that travel with the repository: anybody redraws the figures of the gallery from them."""

import re
from pathlib import Path

import pytest

from lossviz.config.reading import dump
from lossviz.results import load_results
from lossviz.run import Run, find_runs
from tests.faults import tiny

DOCS = Path(__file__).parent.parent / "docs"
EXPERIMENTS = sorted({path.parent.parent for path in (DOCS / "runs").glob("*/*/config.yaml")})
RUNS = [run for experiment in EXPERIMENTS for run in find_runs(experiment)]
MOST_BYTES = 20_000_000
ABSOLUTE = re.compile(r"""(?:^|[\s'"])/(?:home|root|work|tmp|mnt|data|usr|opt|Users)/""", re.MULTILINE)


def name_of(path: Path | Run) -> str:
    return path.name if isinstance(path, Path) else f"{path.experiment}-{path.variant}"


def test_there_are_few_and_small_files() -> None:
    found = [path for path in (DOCS / "runs").glob("*/*/*") if path.is_file() and path.parent.name != "figures"]
    kinds = {path.name if path.name in ("config.yaml", "run.json", "train.nc", "probe.nc") else path for path in found}
    assert all(str(kind) == kind or re.fullmatch(r"surface-[\w-]+\.nc", Path(kind).name) for kind in kinds)
    assert 0 < sum(path.stat().st_size for path in found) < MOST_BYTES


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=name_of)
def test_its_figures_are_drawn_without_training(experiment: Path, tmp_path: Path) -> None:
    answer = tiny.lossviz("plot", experiment, "--out", tmp_path)
    assert answer.status == 0, answer.err
    assert [path for path in tmp_path.iterdir() if path.suffix == ".png" and path.stat().st_size > 10_000]


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_results_are_sealed_and_those_of_the_configuration_beside_them(run: Run) -> None:
    files = sorted(run.folder.glob("*.nc"))
    assert files
    for path in files:
        results = load_results(path)  # which checks the seal
        assert (results.attrs["experiment"], results.attrs["variant"]) == (run.experiment, run.variant)
        assert not ABSOLUTE.search("\n".join(map(str, results.attrs.values()))), path
    config = run.config()
    assert (config.name, config.variant) == (run.experiment, run.variant)
    assert not ABSOLUTE.search(dump(config) + run.record_file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=name_of)
def test_its_page_says_how_to_draw_it(experiment: Path) -> None:
    page = (DOCS / "runs" / "README.md").read_text(encoding="utf-8")
    assert f"lossviz plot docs/runs/{experiment.name}" in page


def test_figures_are_small_and_each_is_shown() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md"))
    for figure in (DOCS / "figures").iterdir():
        assert figure.stat().st_size < 400_000, figure
        assert f"figures/{figure.name})" in pages, figure
    for shown in re.findall(r"\((?:docs/)?(figures/[\w-]+\.png)\)", pages):
        assert (DOCS / shown).is_file(), shown
