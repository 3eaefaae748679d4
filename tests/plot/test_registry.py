import subprocess
import sys
from importlib.resources import files

from lossviz.plot.registry import FIGURES, figures_help, load_figure


def imported(code: str, *modules: str) -> list[str]:
    """Which of some modules a new process has imported after some code."""
    ask = f"{code}; import sys; print(*[m for m in {modules!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()


def test_every_figure_is_called_as_in_the_table() -> None:
    for name in FIGURES:
        assert load_figure(name).name == name


def test_every_file_with_a_figure_is_in_the_table() -> None:
    folder = files("lossviz.plot.figures")
    found = {file.name.removesuffix(".py") for file in folder.iterdir() if "\nFIGURES = " in _text(file.name)}
    assert found == {entry.file for entry in FIGURES.values()}


def test_help_names_every_figure() -> None:
    assert all(name in figures_help() for name in FIGURES)


def test_the_table_is_light_and_the_figures_need_no_extra_and_no_torch() -> None:
    heavy = ("matplotlib", "xarray", "torch")
    assert imported("import lossviz.plot.registry", *heavy) == []
    code = (
        "from lossviz.plot.registry import FIGURES, load_figure; import lossviz.plot.draw; [*map(load_figure, FIGURES)]"
    )
    missing = ("torch", "matplotlib.pyplot", "plotly", "pyvista", "vtkmodules")
    assert imported(code, "matplotlib", *missing) == ["matplotlib"]


def _text(name: str) -> str:
    file = files("lossviz.plot.figures") / name
    return file.read_text("utf-8") if name.endswith(".py") else ""
