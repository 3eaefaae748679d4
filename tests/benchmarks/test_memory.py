"""The peak of resident memory, of work whose bytes are known, and how it is said."""

import pytest
import torch

from benchmarks import memory

COUNTED = pytest.mark.skipif(not memory.COUNTS.exists(), reason="Linux counts resident memory")


@COUNTED
def test_the_peak_counts_what_is_freed_again_and_not_what_was_there() -> None:
    """16 million float32 numbers are 64 MB, twice 128 MB; the 64 MB from before count for nothing."""
    held = torch.ones(16_000_000)
    assert 127e6 < memory.peak(lambda: (held + 1).add_(torch.ones(16_000_000))) < 140e6
    assert memory.peak(lambda: held.add_(1)) < 12e6


@COUNTED
def test_only_what_moves_counts_as_moved() -> None:
    """8 layers of 64 x 64 float32 numbers, of which the last two are the last quarter."""
    rows = memory.rows(width=64, layers=8)
    assert {name: (row["model_bytes"], row["moved_bytes"]) for name, row in rows.items()} == {
        "all layers move": (8 * 4 * 64**2, 8 * 4 * 64**2),
        "the last quarter moves": (8 * 4 * 64**2, 2 * 4 * 64**2),
        "all layers move, keep: false": (8 * 4 * 64**2, 8 * 4 * 64**2),
    }
    for row in rows.values():
        assert row["beyond_over_moved"] * row["moved_bytes"] == pytest.approx(row["beyond_bytes"])
        assert row["in_all_over_model"] == pytest.approx(1 + row["beyond_bytes"] / row["model_bytes"])
    assert len(memory.lines(rows)) == 3


def test_it_is_said_where_nothing_was_counted() -> None:
    assert memory.lines({}) == ["left out: only Linux counts the peak of resident memory"]
