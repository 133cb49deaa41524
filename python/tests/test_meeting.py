from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
import torch.distributed as dist
from nats.js.errors import KeyNotFoundError

from kinetoscope.worker import group
from kinetoscope.worker.group import _listen, _Meeting

KEYS = ["omni.s0.r0.k0", "omni.s0.r0.k1"]


class Entry:
    def __init__(self, value: bytes) -> None:
        self.value = value


class Bucket:
    """A key-value bucket of NATS."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def key_value(self, name: str) -> Bucket:
        return self

    async def put(self, key: str, body: bytes) -> None:
        self.values[key] = body

    async def get(self, key: str) -> Entry:
        if key not in self.values:
            raise KeyNotFoundError
        return Entry(self.values[key])


class Rank:
    """What runs work on a rank's loop."""

    def wait(self, work: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
        return asyncio.run(work)


def store() -> tuple[dist.TCPStore, str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.listen(8)
    return _listen("127.0.0.1", port, 2, listener.detach()), f"127.0.0.1:{port}"


def meeting(bucket: Bucket, own: int, stopped: threading.Event) -> _Meeting:
    return _Meeting(bucket, KEYS, own, Rank(), stopped.is_set)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [0, 1])
def test_ranks_meet_whatever_dead_ones_have_left(first: int) -> None:
    """The processes of a replica before, which are not quite dead, still listen."""
    bucket, stopped = Bucket(), threading.Event()
    old, old_addr = store()
    bucket.values[KEYS[0]] = json.dumps({"incarnation": "old0", "addr": old_addr, "with": ["old1"]}).encode()
    bucket.values[KEYS[1]] = json.dumps({"incarnation": "old1", "addr": ""}).encode()
    new, new_addr = store()
    ranks = [meeting(bucket, r, stopped) for r in range(2)]
    found: list[dist.TCPStore] = []
    threads = [
        threading.Thread(target=lambda: ranks[0].gather(new, new_addr)),
        threading.Thread(target=lambda: found.append(ranks[1].find())),
    ]
    threads[first].start()
    other = ranks[first].incarnation.encode()
    while other not in bucket.values[KEYS[first]]:
        threads[first].join(0.01)
    threads[1 - first].start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    found[0].set("hello", "new")
    assert new.get("hello") == b"new"
    assert not old.check(["hello"])
    stopped.set()


def test_a_rank_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_MEET_TIMEOUT_S", 0.2)
    bucket, stopped = Bucket(), threading.Event()
    first, addr = store()
    with pytest.raises(TimeoutError, match="rank 1 of the replica did not come"):
        meeting(bucket, 0, stopped).gather(first, addr)
    bucket.values[KEYS[0]] = json.dumps({"incarnation": "old0", "addr": addr, "with": ["old1"]}).encode()
    with pytest.raises(TimeoutError, match="rank 0 of the replica did not come"):
        meeting(bucket, 1, stopped).find()
