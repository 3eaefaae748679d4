"""A scheduler that cannot be reached is named, and nothing is left that speaks later."""

import gc
import sys

import pytest

from lossviz.cluster.pool import Pool
from lossviz.errors import WorkError


def test_without_certificates_a_scheduler_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    with pytest.raises(WorkError) as caught:
        Pool("tls://127.0.0.1:9")
    first, advice = str(caught.value).splitlines()
    assert first == "tls://127.0.0.1:9: cannot be reached: Dask's configuration has no certificates"
    assert "~/.config/dask" in advice
    del caught
    gc.collect()
    assert said == []
