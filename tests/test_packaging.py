"""What setup.cfg, CITATION.cff and the changelog say of the package, held against the package itself."""

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

import lossviz
from lossviz._version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_folder_with_code_is_installed(setup: ConfigParser) -> None:
    folders = {path.parent for path in (ROOT / "lossviz").rglob("*.py")}
    listed = set(setup["options"]["packages"].split())
    # The configurations lie beside the package in the source tree, and inside it when installed.
    assert listed == {".".join(folder.relative_to(ROOT).parts) for folder in folders} | {"lossviz.configs"}


def test_every_file_that_is_not_code_is_installed(setup: ConfigParser) -> None:
    installed: set[Path] = set()
    for package, patterns in setup["options.package_data"].items():
        folder = ROOT / "configs" if package == "lossviz.configs" else ROOT.joinpath(*package.split("."))
        for pattern in re.split(r",\s*|\n", patterns.strip()):
            matched = set(folder.glob(pattern))
            assert matched, f"{package}: {pattern} matches nothing"
            installed |= matched
    files = {path for path in (ROOT / "lossviz").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} <= installed
    assert set((ROOT / "configs").glob("*.yaml")) <= installed


def test_every_dependency_has_a_lower_bound_so_that_the_oldest_versions_can_be_tested(setup: ConfigParser) -> None:
    groups = [setup["options"]["install_requires"]]
    groups += [group for extra, group in setup["options.extras_require"].items() if extra != "lint"]
    required = [line for group in groups for line in group.strip().splitlines() if not line.startswith("#")]
    assert [line for line in required if not re.fullmatch(r"[A-Za-z0-9-]+ >= [0-9.]+", line)] == []


def test_citation_and_newest_release_have_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    releases = re.findall(r"^## ([0-9.]+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases[0] == (__version__, citation["date-released"])
    assert citation["version"] == __version__


def test_importing_lossviz_does_not_import_torch() -> None:
    code = "import sys, lossviz; assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules; dir(lossviz)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        getattr(lossviz, "noth" + "ing")
