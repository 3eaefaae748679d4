"""The attributes of a scan's result file: the whole protocol of how its numbers came to be."""

from collections.abc import Mapping

from lossviz.data.load import AnySplit
from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.engine.point import Vector
from lossviz.files import sha256
from lossviz.results import SURFACE, protocol
from lossviz.setup import Setup
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes
from lossviz.surface.subspace import Subspace


def scan_attributes(setup: Setup, checkpoint: Checkpoint, scanned: Mapping[str, AnySplit]) -> Attributes:
    """Configuration, checkpoint, data, precision.

    Args:
        setup: the variant.
        checkpoint: the centre.
        scanned: the examples, by the prefix of their quantities' names.
    """
    facts, config = setup.backend.facts(), setup.config.surface
    found = setup.facts()
    data, code = found["data"], found["own_code"]
    return {
        **protocol(setup.config, setup.loss_name, SURFACE),
        "checkpoint": checkpoint.name,
        "checkpoint_step": "" if checkpoint.step is None else checkpoint.step,
        "checkpoint_sha256": sha256(checkpoint.path),
        "data_sha256": ", ".join(data[split] for split in split_names(config.data.split)),
        # Another run may have made the checkpoint.
        "changed_data": "" if checkpoint.step is None else ", ".join(setup.changed_data()),
        "own_code": "\n".join(f"{file} {digest}" for file, digest in code.items()),
        "examples": len(scanned[""]),
        "choose": config.data.choose,
        **_classes(setup, scanned),
        "split": config.data.split,
        "directions": config.directions.kind,
        "direction_seed": getattr(config.directions, "seed", ""),
        "normalize": getattr(config.directions, "normalize", "none"),
        "batch_norm": config.batch_norm,
        "precision": facts["precision"],
        "device": facts["device_name"],
    }


def direction_attributes(subspace: Subspace, directions: Mapping[str, Vector]) -> Attributes:
    """Norms of the directions, and the cosine of the angle between them, over the parameters."""
    norms = {axis: subspace.norm(vector) for axis, vector in directions.items()}
    found: Attributes = {f"{axis}_norm": norm for axis, norm in norms.items()}
    # The order of the network, which safetensors does not keep and the official tool's files go by.
    found["parameters"] = "\n".join(each.name for each in subspace.tensors if each.kind != "statistic")
    if "y" in norms:
        product = norms["x"] * norms["y"]
        found["cosine"] = subspace.dot(directions["x"], directions["y"]) / product if product else float("nan")
    return found


def split_names(split: str) -> tuple[str, ...]:
    """The splits of the data set that `surface.data.split` means."""
    return ("train", "test") if split == "both" else (split,)


def _classes(setup: Setup, scanned: Mapping[str, AnySplit]) -> Attributes:
    """Number of classes among the examples, and in their split; vectors and sequences have none."""
    found: Attributes = {}
    for name, (prefix, chosen) in zip(split_names(setup.config.surface.data.split), scanned.items(), strict=True):
        # The classes of a person's Dataset are not looked for.
        there, here = (
            each.targets if isinstance(each, Split | StreamedSplit) else None
            for each in (getattr(setup.data, name), chosen)
        )
        if there is not None and here is not None and there.dim() == 1:
            found[f"{prefix}classes"] = len(here.unique())
            found[f"{prefix}classes_of_split"] = len(there.unique())
    return found
