"""From a configuration to a device, data and a network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lossviz.config import read
from lossviz.data.split import Split
from lossviz.errors import RequestError
from lossviz.run import run_of
from lossviz.setup import prepare
from tests.faults import tiny


def test_every_model_of_a_setup_is_the_same_and_its_own(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    first, second = setup.model(), setup.model()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()


def test_another_seed_is_another_network(tmp_path: Path) -> None:
    weights = [next(tiny.setup(tmp_path, seed=seed).model().parameters()) for seed in (0, 1)]
    assert not torch.equal(*weights)


def test_building_a_model_draws_no_global_random_number(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    before = torch.get_rng_state()
    setup.model()
    assert torch.equal(torch.get_rng_state(), before)


def test_float64_reaches_network_and_data(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, train={"precision": "float64"})
    assert {parameter.dtype for parameter in setup.model().parameters()} == {torch.float64}
    assert setup.minibatches()(0).inputs.dtype == torch.float64


def test_variants_share_their_data(tmp_path: Path) -> None:
    path = tiny.write(tmp_path, variants={"one": {}, "two": {"model": {"norm": "batch"}}})
    one, two = (prepare(config, run_of(config, tmp_path), "cpu") for config in read(str(path)))
    assert one.data is two.data


def test_a_minibatch_cannot_be_larger_than_the_data(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, data={"examples": "all"}, train={"batch_size": 1438})
    with pytest.raises(RequestError, match=r"train\.batch_size = 1438: there are 1,437 training examples"):
        setup.minibatches()


def test_the_network_hears_how_large_the_images_are(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    assert isinstance(setup.data.train, Split)
    train = replace(setup.data.train, inputs=setup.data.train.inputs[:, :, :, :16])
    with pytest.raises(
        RequestError, match=r"model\.name = vgg: takes images of 32x32, and those of the data are 32x16"
    ):
        replace(setup, data=replace(setup.data, train=train)).model()


@pytest.mark.parametrize("device", ["cuda:99", "cuda:-1", "tpu", "meta", ""])
def test_an_unusable_device_is_refused_by_name(tmp_path: Path, device: str) -> None:
    (config,) = read(str(tiny.write(tmp_path)))
    with pytest.raises(RequestError, match=f"--device {device}"):
        prepare(config, run_of(config, tmp_path), device)
