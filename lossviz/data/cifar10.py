"""CIFAR-10 through torchvision's loader."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, download_and_extract_archive

from lossviz.config.data import Cifar10
from lossviz.errors import Refusal, RequestError, first_line

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
FILES = (*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"]))


def cifar10(config: Cifar10) -> dict[str, tuple[Tensor, Tensor]]:
    """50,000 training and 10,000 test images, uint8 (N, 3, 32, 32), and labels.

    Raises:
        RequestError: the files are missing or damaged and cannot be downloaded; says what to put where.
    """
    root = Path(config.root).expanduser()
    folder = root / CIFAR10.base_folder
    damaged = [name for name, md5 in FILES if not check_integrity(folder / name, md5)]
    if damaged and not config.download:
        raise _refused(folder, damaged, "nothing is downloaded (--dry-run, or data.download is false)")
    try:
        if damaged:
            _fetch(root)
        sets = {name: CIFAR10(root, train=name == "train") for name in ("train", "test")}
    except (OSError, RuntimeError) as error:
        raise _refused(folder, damaged, f"the download failed: {first_line(error)}") from error
    return {name: (_images(each), torch.tensor(each.targets)) for name, each in sets.items()}


def _fetch(root: Path) -> None:
    """Put the official files in their places, each whole: other processes may read them, or fetch them too."""
    folder = root / CIFAR10.base_folder
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="download-", dir=root) as fresh:
        there = check_integrity(root / CIFAR10.filename, CIFAR10.tgz_md5)
        archive = {"filename": CIFAR10.filename, "md5": CIFAR10.tgz_md5}
        download_and_extract_archive(CIFAR10.url, root if there else fresh, fresh, **archive)
        folder.mkdir(exist_ok=True)
        for name, _ in FILES:
            (Path(fresh) / CIFAR10.base_folder / name).replace(folder / name)


def _images(source: CIFAR10) -> Tensor:
    # Stored (N, H, W, C): the permuted view is already channels_last.
    return torch.from_numpy(source.data).permute(0, 3, 1, 2)


def _refused(folder: Path, damaged: list[str], reason: str) -> RequestError:
    first = folder / damaged[0] if damaged else folder
    state = "is damaged (its MD5 differs from the official one)" if first.exists() else "is missing"
    subject, problem = (first, state) if folder.is_dir() else (folder, "CIFAR-10 is not there")
    advice = (
        f"unpack cifar-10-python.tar.gz (MD5 {CIFAR10.tgz_md5}) in {folder.parent}/, "
        f"so that {folder}/data_batch_1 exists; or set data.root to the folder that holds cifar-10-batches-py/"
    )
    return RequestError(Refusal(str(subject), f"{problem}, and {reason}", advice=advice))
