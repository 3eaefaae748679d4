"""`--workers` and `--scheduler` of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import tiny


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "2", "--scheduler", "tls://a:1"), "--workers and --scheduler: exclude each other"),
        (("--scheduler", "a:8786"), "accepted: tls://HOST:PORT, or tcp://"),
        (("--scheduler", ""), "--scheduler = "),
        (("--scheduler", "http://a:8786"), "--scheduler = http://a:8786"),
        (("--workers", "0"), "Invalid value for '--workers'"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    answer = tiny.lossviz("surface", tiny.write(tmp_path), "--out", tmp_path, *options)
    assert answer.status == 2
    assert words in answer.err


def test_without_the_extra_it_is_named(tmp_path: Path) -> None:
    arguments = ["lossviz", "surface", str(tiny.write(tmp_path)), "--out", str(tmp_path), "--workers", "2"]
    code = (
        f"import sys; sys.modules['distributed'] = None; sys.argv = {arguments}; from lossviz.cli import main; main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "--workers: needs distributed, which is not installed" in answer.stderr
    assert "pip install 'lossviz[cluster]'" in answer.stderr


def test_nobody_else_needs_the_extra() -> None:
    """Not even a scan without it."""
    code = "import sys, lossviz.work, lossviz.cli, lossviz.notebook; sys.exit('distributed' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
