"""Several processes, as the environment says."""

from datetime import timedelta

import pytest
from torch._C._distributed_c10d import HashStore, TCPStore

from lossviz.distributed import ranks as module
from lossviz.distributed.ranks import Ranks, UnreachableError, ranks
from lossviz.errors import RequestError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


def environment(monkeypatch: pytest.MonkeyPatch, *values: str | None) -> None:
    for name, value in zip(NAMES, values, strict=True):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A LOCAL_RANK that another tool left behind makes no group, nor does one process of a cluster."""
    for values in ((None, None, None), (None, None, "3"), ("0", "1", None)):
        environment(monkeypatch, *values)
        assert ranks() == Ranks(0, 1, 0)
        assert ranks().alone
        assert ranks().first


def test_as_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, "5", "8", "1")
    assert ranks() == Ranks(rank=5, world=8, local_rank=1)
    assert not ranks().first
    assert not ranks().alone
    environment(monkeypatch, "0", "8", "0")
    assert ranks().first
    environment(monkeypatch, "0", "1", "0")
    assert ranks().alone


@pytest.mark.parametrize(
    "values",
    [("0", None, None), (None, "2", "0"), ("0", "2", None), ("one", "2", "0"), ("-1", "2", "0"), ("0", "", "0")],
)
def test_an_incomplete_environment_is_refused(monkeypatch: pytest.MonkeyPatch, values: tuple[str | None, ...]) -> None:
    environment(monkeypatch, *values)
    with pytest.raises(RequestError, match="torchrun") as refusal:
        ranks()
    assert all(f"{name}={value}" in str(refusal.value) for name, value in zip(NAMES, values, strict=True))


def test_a_store_for_one_purpose_and_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same keys of another purpose, or of an attempt before a restart, are other keys."""
    shared = HashStore()
    monkeypatch.setattr(module, "_store", lambda: shared)
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    first, second = Ranks(0, 2, 0), Ranks(1, 2, 1)
    first.store("one").set("pace", "3")
    assert second.store("one").get("pace") == b"3"
    assert not second.store("two").check(["pace"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert first.store("one").check(["pace"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not first.store("one").check(["pace"])


def test_what_all_found_reaches_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = HashStore()
    monkeypatch.setattr(module, "_store", lambda: shared)
    assert Ranks().gather("alone", {"a": "1"}, 0) == [{"a": "1"}]
    assert Ranks(2, 3, 0).gather("files", {"c": "3"}, 0) == []
    # The one that is missing may be dead.
    assert Ranks(0, 3, 0).gather("files", {"a": "1"}, 0.1) == [{"a": "1"}, {"c": "3"}]
    assert Ranks(1, 3, 1).gather("files", {}, 0) == []
    assert Ranks(0, 3, 0).gather("files", {"a": "1"}, 60) == [{"a": "1"}, {}, {"c": "3"}]


def test_a_store_that_is_gone_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of it."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = TCPStore("127.0.0.1", server.port, is_master=False)
    monkeypatch.setattr(module, "_store", lambda: client)
    store = Ranks(1, 2, 1).store("one")
    store.set("here", "1")
    del server
    for ask in (
        lambda: store.get("here"),
        lambda: store.check(["here"]),
    ):
        with pytest.raises(UnreachableError, match="another of the processes has ended, or cannot be reached"):
            ask()


def test_a_launcher_that_is_gone_before_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun's store is there before its processes: nobody waits for it for long."""
    environment(monkeypatch, "1", "2", "1")
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(server.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }.items():
        monkeypatch.setenv(name, value)
    del server
    monkeypatch.setattr(module, "PATIENCE_TO_CONNECT", {True: timedelta(seconds=1)})
    module._store.cache_clear()
    with pytest.raises(UnreachableError, match="another of the processes has ended, or cannot be reached"):
        ranks().store("one")
