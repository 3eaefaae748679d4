"""Cables are pulled where there are network namespaces, and elsewhere nothing happens, in words."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from chaos import network


@pytest.mark.parametrize(
    ("tool", "user", "reason"), [(None, 0, "needs ip and openssl"), ("/bin/ip", 1000, "needs root")]
)
def test_without_namespaces_nothing_is_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tool: str | None,
    user: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["chaos.network"])
    monkeypatch.setattr(shutil, "which", lambda _: tool)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    network.main()
    assert capsys.readouterr().out == f"the network was not cut: {reason}\n"
    assert list(tmp_path.iterdir()) == []
