"""Every kind of file that lossviz reads, and a command that reads it."""

import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from chaos.damage import CACHE, Kind
from chaos.stages import OTHER, SAMPLED, settings
from lossviz.engine.checkpoint import load_tensors
from lossviz.official import official_directions, official_surface
from lossviz.results import load_results
from lossviz.results.surface import load_directions
from lossviz.run import Run
from tests.faults import tiny
from tests.faults.launch import Lossviz

CIFAR = Path(__file__).parents[1] / "data" / "cifar-10-batches-py"

_A, _B = Run(Path("runs/tiny/a")), Run(Path("runs/tiny/b"))
_FIGURES = ("--figure", "training", "--figure", "landscape", "--figure", "contour")
_PLOT = ("plot", "runs/tiny", "--format", "h5", "--format", "svg", *_FIGURES)
_STEP = "checkpoints/step-00000024.safetensors"


def _scan_of(path: str) -> list[str]:
    return ["surface", "runs/tiny/a", *settings("surface.name=foreign", f"surface.checkpoint={path}")]


def _scan_along(path: str) -> list[str]:
    directions = f"surface.directions={{kind: file, path: {path}}}"
    return ["surface", "runs/tiny/a", *settings("surface.name=along", directions)]


def _weights(folder: Path, run: Run) -> dict[str, Tensor]:
    return load_tensors(folder / run.checkpoint_file(24))


def _save_torch(folder: Path) -> None:
    for name, run in (("weights", _A), ("others", _B)):
        torch.save(_weights(folder, run), folder / f"{name}.pt")


def _save_t7(folder: Path) -> None:
    saved = {"acc": 90.0, "epoch": 300, "state_dict": _weights(folder, _A)}
    torch.save(saved, folder / "model.t7", _use_new_zipfile_serialization=False)


def _save_safetensors(folder: Path) -> None:
    for name, run in (("weights", _A), ("others", _B)):
        safetensors.torch.save_file(_weights(folder, run), folder / f"{name}.safetensors")


def _save_parts(folder: Path) -> None:
    (folder / "hub").mkdir()
    weights = _weights(folder, _A)
    names = list(weights)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, its in parts.items():
        safetensors.torch.save_file({name: weights[name] for name in its}, folder / "hub" / file)
    places = ",".join(f'"{name}":"{file}"' for file, its in parts.items() for name in its)
    (folder / "hub" / "model.safetensors.index.json").write_text(f'{{"weight_map":{{{places}}}}}', encoding="utf-8")


def _save_distributed(folder: Path) -> None:
    save_distributed(dict(_weights(folder, _A)), checkpoint_id=folder / "dcp", no_dist=True)


def _export_surface(folder: Path) -> None:
    (folder / "exported.h5").write_bytes(official_surface(load_results(folder / _A.surface_file("main"))))


def _export_directions(folder: Path) -> None:
    (folder / "exported.h5").write_bytes(official_directions(_ordered(folder)))


def _ordered(folder: Path) -> Mapping[str, list[np.ndarray]]:
    order = str(load_results(folder / _A.surface_file("main")).attrs["parameters"]).split()
    tensors = load_directions(folder / _A.directions_file("main"))
    return {axis: [np.asarray(tensors[f"{axis}/{name}"]) for name in order] for axis in ("x", "y")}


def _save_surface_as_the_tool(folder: Path) -> None:
    for name, run in (("tool", _A), ("other", _B)):
        results = load_results(folder / run.surface_file("main"))
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["xcoordinates"], file["ycoordinates"] = results["x"].values, results["y"].values
            file["train_loss"], file["train_acc"] = results["loss"].values, 100 - results["error"].values


def _save_directions_as_the_tool(folder: Path) -> None:
    with h5py.File(folder / "tool.h5", "w") as file:
        for axis, tensors in _ordered(folder).items():
            for place, tensor in enumerate(tensors):
                file[f"{axis}direction/{place}"] = tensor


def _save_images(root: Path) -> None:
    pixels = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 3)):
        for label in ("cat", "dog"):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                picture = pixels.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / f"image{number}.png")
            os.utime(folder, (1e9, 1e9))
        os.utime(root / part, (1e9, 1e9))


def _with_images(folder: Path, root: Path) -> None:
    data = {"name": "imagefolder", "root": str(root), "image_size": 32, "workers": 0, "examples": "all"}
    train = {"steps": 2, "eval_every": 2, "batch_size": 4, "eval_examples": "all"}
    tiny.write(folder, name="photos", data=data, train=train)


def _own_images(folder: Path) -> None:
    _save_images(folder / "images")
    _with_images(folder, Path("images"))


def _indexed_images(folder: Path) -> None:
    # The index is kept under the absolute path of the images: all copies of this folder share those.
    root = folder.parent / "images"
    _save_images(root)
    _with_images(folder, root)
    assert Lossviz(["train", "tiny.yaml", "--dry-run"], folder, environment=CACHE).wait() == 0


def _cifar(folder: Path) -> None:
    (folder / "cifar" / CIFAR.name).mkdir(parents=True)
    for file in CIFAR.iterdir():
        (folder / "cifar" / CIFAR.name / file.name).write_bytes(file.read_bytes())  # never a link: it will be damaged
    data = {"name": "cifar10", "root": "cifar", "download": False, "examples": 40}
    tiny.write(folder, name="photos", data=data, train={"steps": 1, "eval_examples": "none"})


_TRAIN, _PROBE, _SURFACE = ("train", "tiny.yaml"), ("probe", "runs/tiny"), ("surface", "runs/tiny")
_OTHER, _SAMPLED = (*_SURFACE, *settings(*OTHER)), (*_SURFACE, *settings(*SAMPLED))
_CONFIGS, _RECORDS = ("runs/tiny/*/config.yaml",), ("runs/tiny/*/run.json",)
_CHECKPOINTS = ("runs/tiny/*/checkpoints/step-*",)
_DIRECTIONS = str(_A.directions_file("main"))
_FOLDERS = ("runs/tiny/a", "runs/tiny/b")

KINDS = (
    Kind("curves of a stopped training", "stopped", ["runs/tiny/*/train.nc"], _TRAIN),
    Kind("state to resume from", "stopped", ["runs/tiny/*/checkpoints/resume.pt"], _TRAIN),
    Kind("checkpoints of a stopped training", "stopped", _CHECKPOINTS, _TRAIN),
    Kind("config.yaml of a stopped training", "stopped", _CONFIGS, _TRAIN, also=_FOLDERS),
    Kind("run.json of a stopped training", "stopped", _RECORDS, _TRAIN),
    Kind("curves of a training", "trained", ["runs/tiny/*/train.nc"], ("probe", "tiny.yaml")),
    Kind("checkpoints", "trained", _CHECKPOINTS, ("probe", "tiny.yaml")),
    Kind("state of a replay", "replaying", ["runs/tiny/*/checkpoints/replay.pt"], ("probe", "tiny.yaml")),
    Kind("measurements along a training", "replaying", ["runs/tiny/*/probe.nc"], ("probe", "tiny.yaml")),
    Kind("measurements at checkpoints", "probing", ["runs/tiny/*/probe.nc"], _PROBE),
    Kind("checkpoints", "probing", _CHECKPOINTS, _PROBE),
    Kind("config.yaml", "probing", _CONFIGS, _PROBE, also=_FOLDERS),
    Kind("run.json", "probing", _RECORDS, _PROBE),
    Kind("half a scan", "scanning", ["runs/tiny/*/surface-main.nc"], _SURFACE, partners=["runs/tiny/*/surface-*.nc"]),
    Kind("directions", "scanning", ["runs/tiny/*/directions-main*"], _SURFACE, partners=["runs/tiny/*/directions*"]),
    Kind("checkpoint of a scan", "scanning", [f"runs/tiny/*/{_STEP}"], _SURFACE, partners=_CHECKPOINTS),
    Kind("config.yaml", "scanning", _CONFIGS, _SURFACE, also=_FOLDERS),
    Kind("run.json", "scanning", _RECORDS, _SURFACE),
    Kind("checkpoints on a path", "trained", _CHECKPOINTS, _OTHER),
    Kind("half a sampled scan", "sampling", ["runs/tiny/*/surface-sampled.nc"], _SAMPLED),
    Kind("losses of single examples", "sampling", ["runs/tiny/*/samples-sampled/*.npz"], _SAMPLED),
    Kind("results", "measured", ["runs/tiny/*/*.nc"], _PLOT),
    Kind("directions", "measured", ["runs/tiny/*/directions-*"], _PLOT),
    Kind("config.yaml", "measured", _CONFIGS, _PLOT, also=_FOLDERS),
    Kind("surface .h5 of lossviz", "measured", ["exported.h5"], ("plot", "exported.h5"), prepare=_export_surface),
    Kind(
        *("surface .h5 of the official tool", "measured", ["tool.h5"], ("plot", "tool.h5")),
        checked=False,
        partners=["other.h5"],
        prepare=_save_surface_as_the_tool,
    ),
    Kind(
        *("directions .h5 of lossviz", "measured", ["exported.h5"], _scan_along("exported.h5")),
        prepare=_export_directions,
    ),
    Kind(
        *("directions .h5 of the official tool", "measured", ["tool.h5"], _scan_along("tool.h5")),
        checked=False,
        prepare=_save_directions_as_the_tool,
    ),
    Kind("directions of another scan", "measured", [_DIRECTIONS], _scan_along(_DIRECTIONS)),
    Kind("checkpoint by its path", "trained", [f"runs/tiny/b/{_STEP}"], _scan_of(f"runs/tiny/b/{_STEP}")),
    Kind("weights.pt", "trained", ["weights.pt"], _scan_of("weights.pt"), prepare=_save_torch),
    Kind("model.t7", "trained", ["model.t7"], _scan_of("model.t7"), checked=False, prepare=_save_t7),
    Kind(
        *("weights.safetensors of others", "trained", ["weights.safetensors"], _scan_of("weights.safetensors")),
        checked=False,
        partners=["others.safetensors"],
        prepare=_save_safetensors,
    ),
    Kind(
        *("folder of Hugging Face", "trained", ["hub/*"], _scan_of("hub")),
        checked=False,
        prepare=_save_parts,
        also=["hub"],
    ),
    Kind(
        *("folder of torch.distributed", "trained", ["dcp/*", "dcp/.metadata"], _scan_of("dcp")),
        checked=False,
        prepare=_save_distributed,
        also=["dcp"],
    ),
    Kind(
        *("photographs (PNG)", "new", ["images/train/*/*", "images/val/*/*"], _TRAIN),
        told_apart=False,
        prepare=_own_images,
    ),
    Kind("index of photographs", "new", ["cache/lossviz/*"], _TRAIN, prepare=_indexed_images),
    *(
        [Kind("CIFAR-10", "new", [f"cifar/{CIFAR.name}/*batch*"], _TRAIN, prepare=_cifar)]
        if (CIFAR / "data_batch_1").exists()
        else []
    ),
)
