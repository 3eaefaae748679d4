import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossviz.seeding import derive, generator, seeded, stream

CPU = torch.device("cpu")
PURPOSES: list[tuple[str | int, ...]] = [(), ("order",), ("order", 0), ("order", 1), ("augment", 0), ("order", 10)]


def test_derive_is_the_same_in_another_process() -> None:
    code = "from lossviz.seeding import derive; print(derive(3, 'order', 7), derive(0), derive(2**32 - 1, 'a', 'b'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [int(word) for word in done.stdout.split()] == [
        derive(3, "order", 7),
        derive(0),
        derive(2**32 - 1, "a", "b"),
    ]


def test_derive_is_63_bits_of_sha256() -> None:
    digest = hashlib.sha256(b"3/order/7").digest()[:8]
    assert derive(3, "order", 7) == int(np.frombuffer(digest, "<u8")[0]) // 2


def test_purposes_and_seeds_are_independent() -> None:
    seeds = [derive(seed, *purpose) for seed in range(20) for purpose in PURPOSES]
    assert len(set(seeds)) == len(seeds)
    streams = torch.stack([torch.randn(4000, generator=generator(0, *purpose)) for purpose in PURPOSES])
    off_diagonal = torch.corrcoef(streams) - torch.eye(len(PURPOSES))
    assert off_diagonal.abs().max() < 5 / 4000**0.5


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**9))
def test_derive_fits_a_torch_seed(seed: int, step: int) -> None:
    assert 0 <= derive(seed, "noise", step) < 2**63
    assert torch.Generator().manual_seed(derive(seed, "noise", step)).initial_seed() == derive(seed, "noise", step)


@pytest.mark.parametrize(("key", "number"), [(0, 0), (5, 0), (5, 7), (2**62 + 5, 0)])
def test_a_stream_is_the_mersenne_twister_in_a_state_that_philox_gives(key: int, number: int) -> None:
    twister = np.random.MT19937()
    words = np.random.Philox(key=[key, number]).random_raw(312).view(np.uint32)
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    drawn = torch.empty(2000, dtype=torch.int32).random_(0, 2**24, generator=stream(CPU, key, number))
    assert drawn.tolist() == (twister.random_raw(2000) % 2**24).tolist()


def test_streams_depend_on_all_bits_of_their_key() -> None:
    low, high = torch.Generator().manual_seed(3), torch.Generator().manual_seed(2**61 + 3)
    assert torch.equal(torch.rand(9, generator=low), torch.rand(9, generator=high))  # why `stream` is there
    keys = [3, 2**32 + 3, 2**61 + 3, 4]
    streams = torch.stack([torch.randn(4000, generator=stream(CPU, key, number)) for key in keys for number in (0, 1)])
    assert (torch.corrcoef(streams) - torch.eye(len(streams))).abs().max() < 5 / 4000**0.5


def test_seeded_puts_the_global_state_back_bitwise() -> None:
    torch.manual_seed(11)
    torch.randn(3)  # leaves a cached normal number behind, which the state must include
    before = torch.get_rng_state()
    with seeded(CPU, 0, "noise"):
        torch.rand(100)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError), seeded(CPU, 0, "noise"):
        torch.rand(100)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_draws_the_same_whatever_came_before() -> None:
    draws = []
    for history, purpose in itertools.product((0, 5), ("noise", "other")):
        torch.manual_seed(history)
        torch.randn(history)
        with seeded(CPU, 4, purpose):
            draws.append(torch.randn(50))
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], torch.randn(50, generator=generator(4, "noise")))


def test_seeded_leaves_the_devices_it_does_not_restore_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched.append)
    with seeded(CPU, 0):
        torch.rand(1)
    assert not touched


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_seeded_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    before = torch.get_rng_state(), torch.cuda.get_rng_state(device)
    draws = []
    for _ in range(2):
        with seeded(device, 4, "noise"):
            draws.append((torch.rand(9), torch.rand(9, device=device)))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert torch.equal(torch.cuda.get_rng_state(device), before[1])
    assert all(torch.equal(first, second) for first, second in zip(*draws, strict=True))
    with seeded(CPU, 4, "noise"):
        torch.rand(9)
    assert torch.equal(torch.cuda.get_rng_state(device), before[1])
