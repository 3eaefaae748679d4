import numpy as np
import torch
from sklearn.datasets import load_digits

from lossviz.config.data import Digits
from lossviz.data.digits import MEAN, STD, digits
from lossviz.data.load import load
from lossviz.data.split import Split


def test_counts_shapes_and_classes() -> None:
    parts = digits()
    for name, count in (("train", 1437), ("test", 360)):
        images, labels = parts[name]
        assert images.shape == (count, 1, 32, 32)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        shares = torch.bincount(labels, minlength=10) / count
        assert shares.sub(0.1).abs().max() < 0.005  # stratified
    assert all(torch.equal(one[0], other[0]) for one, other in zip(parts.values(), digits().values(), strict=True))


def enlarged() -> np.ndarray:
    """scikit-learn's images up-sampled bilinearly by hand: every factor is dyadic, so float64 is exact."""
    index = np.arange(32)
    position = np.clip((index + 0.5) / 4 - 0.5, 0, 7)  # of a pixel's centre among the source's; edges repeated
    low = np.minimum(position.astype(int), 6)
    weight = np.zeros((32, 8))
    weight[index, low] = 1 - (position - low)
    weight[index, low + 1] += position - low
    large = np.einsum("iy,nyx,jx->nij", weight, load_digits().images * 255 / 16, weight)
    return np.asarray(np.rint(large), dtype=np.uint8)


def test_every_digit_of_scikit_learn_is_in_one_split() -> None:
    # As a multiset: no image is missing, none is in both splits, and each keeps its label.
    expected = [(image.tobytes(), label) for image, label in zip(enlarged(), load_digits().target, strict=True)]
    pairs = [pair for part in digits().values() for pair in zip(*part, strict=True)]
    assert sorted((image.numpy().tobytes(), int(label)) for image, label in pairs) == sorted(expected)


def test_mean_and_std_are_those_of_the_training_images() -> None:
    pixels = digits()["train"][0].numpy() / 255
    assert abs(pixels.mean() - MEAN[0]) < 5e-4
    assert abs(pixels.std() - STD[0]) < 5e-4


def test_load_chooses_only_among_the_training_examples() -> None:
    data = load(Digits(name="digits", examples=100), seed=1)
    assert (len(data.train), len(data.test), data.outputs, data.channels) == (100, 360, 10, 1)
    assert torch.bincount(data.train.targets).tolist() == [10] * 10
    whole = load(Digits(name="digits"), seed=1)
    assert whole.fingerprint()["test"] == data.fingerprint()["test"]
    assert whole.fingerprint()["train"] != data.fingerprint()["train"]


def test_load_normalises_as_configured() -> None:
    data = load(Digits(name="digits", mean=(0.25,), std=(2.0,)), seed=0).to(torch.device("cpu"), torch.float32)
    inputs, _ = next(data.test.batches(360))
    assert isinstance(data.test, Split)
    expected = (data.test.inputs.float() / 255 - 0.25) / 2
    assert torch.equal(inputs, expected)
    assert inputs.dtype == torch.float32


def test_load_uses_the_constants_by_default() -> None:
    train = load(Digits(name="digits"), seed=0).train
    assert isinstance(train, Split)
    values = train.normalise(train.inputs)
    assert abs(float(values.mean())) < 2e-3
    assert abs(float(values.std()) - 1) < 2e-3
