"""Folders of torch.distributed.checkpoint, written by torch itself; nothing in them runs."""

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from lossviz.engine.checkpoint import fit
from lossviz.engine.dcp import METADATA, load_distributed
from lossviz.engine.foreign import load_foreign
from lossviz.errors import RequestError
from tests.engine.test_checkpoint import make_model, same
from tests.engine.test_pickled import Calls, touch

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled", "ignore:TypedStorage is deprecated")


def save(folder: Path, tree: dict[str, Any]) -> Path:
    save_distributed(tree, checkpoint_id=folder, no_dist=True)
    return folder


def metadata_of(folder: Path) -> Any:
    return pickle.loads((folder / METADATA).read_bytes())


def test_a_network_with_its_optimiser(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    network, moments = get_state_dict(model, optimizer)
    folder = save(tmp_path / "step-3", {"model": network, "optim": moments, "step": 3, "note": "text"})
    found = load_distributed(folder)
    assert same(found, {f"model.{name}": tensor for name, tensor in model.state_dict().items()})
    other = make_model(1)
    fit(other, load_foreign(folder), folder)
    assert same(dict(other.state_dict()), dict(model.state_dict()))


def test_numbers_of_every_type_keep_theirs(tmp_path: Path) -> None:
    tree = {"a": torch.randn(3, 2).bfloat16(), "b": torch.tensor(7), "c": torch.randn(2).double(), "d": torch.ones(0)}
    found = load_distributed(save(tmp_path, dict(tree)))
    assert {name: (each.dtype, each.tolist()) for name, each in found.items()} == {
        name: (each.dtype, each.tolist()) for name, each in tree.items()
    }


def test_tensors_in_several_chunks(tmp_path: Path) -> None:
    """As ranks write them: two files with half of the rows each, put together by hand here."""
    whole = torch.randn(5, 3)
    parts = [save(tmp_path / str(k), {"w": part.clone()}) for k, part in enumerate((whole[:2], whole[2:]))]
    folder = tmp_path / "both"
    folder.mkdir()
    first, second = map(metadata_of, parts)
    chunks = first.state_dict_metadata["w"].chunks + second.state_dict_metadata["w"].chunks
    chunks[1].offsets = torch.Size([2, 0])
    entry = first.state_dict_metadata["w"]
    entry.size, entry.chunks = whole.shape, chunks
    places = [next(iter(each.storage_data.values())) for each in (first, second)]
    for k, (part, place) in enumerate(zip(parts, places, strict=True)):
        (folder / f"__{k}_0.distcp").write_bytes((part / place.relative_path).read_bytes())
        place.relative_path = f"__{k}_0.distcp"
    first.storage_data = {MetadataIndex("w", chunk.offsets, k): places[k] for k, chunk in enumerate(chunks)}
    (folder / METADATA).write_bytes(pickle.dumps(first))
    assert same(load_distributed(folder), {"w": whole})
    # torch's own reader agrees
    mine: dict[str, Tensor] = {"w": torch.zeros(5, 3)}
    load(mine, checkpoint_id=folder, no_dist=True)
    assert torch.equal(mine["w"], whole)
    entry.chunks = chunks[:1]
    (folder / METADATA).write_bytes(pickle.dumps(first))
    with pytest.raises(RequestError, match=r"both: is not a checkpoint.*: a tensor is incomplete\n.*dcp_to_torch"):
        load_distributed(folder)


def test_code_in_the_metadata_never_runs(tmp_path: Path) -> None:
    folder, proof = save(tmp_path / "evil", {"w": torch.ones(2)}), tmp_path / "it ran"
    good = (folder / METADATA).read_bytes()
    for evil, said in ((Calls(eval, f"open({str(proof)!r}, 'w')"), "it holds eval"), (Calls(touch, proof), "")):
        metadata = pickle.loads(good)
        metadata.planner_data = evil
        (folder / METADATA).write_bytes(pickle.dumps(metadata))
        if said:
            with pytest.raises(RequestError, match=f"without running its code: {said}"):
                load_foreign(folder)
        else:
            assert same(load_foreign(folder), {"w": torch.ones(2)})
        assert not proof.exists()
        pickle.loads((folder / METADATA).read_bytes())
        assert proof.exists()  # this is what it would have done
        proof.unlink()


def test_code_in_a_chunk_never_runs(tmp_path: Path) -> None:
    folder, proof = save(tmp_path / "evil", {"w": torch.ones(2)}), tmp_path / "it ran"
    buffer = io.BytesIO()
    torch.save(Calls(touch, proof), buffer)
    metadata = metadata_of(folder)
    for place in metadata.storage_data.values():
        place.offset, place.length = 0, len(buffer.getvalue())
        (folder / place.relative_path).write_bytes(buffer.getvalue())
    (folder / METADATA).write_bytes(pickle.dumps(metadata))
    with pytest.raises(RequestError, match="distcp holds touch where a tensor was"):
        load_foreign(folder)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "inner/file"])
def test_files_elsewhere_are_not_opened(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "a", {"w": torch.ones(2)})
    metadata = metadata_of(folder)
    for place in metadata.storage_data.values():
        place.relative_path = name
    (folder / METADATA).write_bytes(pickle.dumps(metadata))
    with pytest.raises(RequestError, match="which does not lie in the folder"):
        load_foreign(folder)


def test_damaged_folders_never_crash(tmp_path: Path) -> None:
    folder = save(tmp_path, {"w": nn.Linear(3, 2).state_dict()})
    content = (folder / METADATA).read_bytes()
    draws, refused = torch.Generator().manual_seed(0), 0
    for at in torch.randint(0, len(content), (200,), generator=draws).tolist():
        (folder / METADATA).write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        try:
            load_foreign(folder)
        except RequestError as error:
            assert str(folder) in str(error)
            refused += 1
    assert refused > 50
    (folder / METADATA).write_bytes(content)
    (folder / "__0_0.distcp").unlink()
    with pytest.raises(RequestError, match="No such file"):
        load_foreign(folder)
