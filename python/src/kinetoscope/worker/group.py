"""The ranks of a replica under torch.distributed: how they meet and how they share plans."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.distributed as dist
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from kinetoscope import protocol as p
from kinetoscope import regions
from kinetoscope.platforms import Platform
from kinetoscope.rank import RankThread
from kinetoscope.worker.options import Options

log = logging.getLogger("kinetoscope.worker")

# Ranks on other hosts may be started by hand, minutes apart.
_MEET_TIMEOUT_S = 600.0
# One attempt to reach rank 0: what it published may be of a process that is gone.
_TRY_TIMEOUT_S = 5.0
_TTL_S = 30.0
# How often a rank looks whether the others are there.
_MEET_POLL_S = 0.05
# A collective that takes longer has lost a peer.
_COLLECTIVE_TIMEOUT = timedelta(minutes=10)


class Group:
    """A replica's ranks. With one rank all is local.

    through_host says that the collectives of the device's tensors take the way over the host:
    ranks that share a card have no other.
    """

    def __init__(self, rank: int, size: int, control: Any = None, *, through_host: bool = False) -> None:
        self.rank, self.size, self._control = rank, size, control
        self._through_host = through_host

    def share(self, data: bytes | None) -> bytes:
        """Rank 0 gives data to all; the others pass None and get it."""
        if self.size == 1:
            assert data is not None
            return data
        with regions.no_operators():
            n = torch.tensor([len(data) if data is not None else 0])
            dist.broadcast(n, 0, group=self._control)
            if data is not None:
                buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            else:
                buffer = torch.empty(int(n), dtype=torch.uint8)
            dist.broadcast(buffer, 0, group=self._control)
        return data if data is not None else bytes(buffer.numpy().tobytes())

    def agree(self, flag: bool) -> bool:
        """Rank 0's flag, on every rank."""
        if self.size == 1:
            return flag
        with regions.no_operators():
            t = torch.tensor([flag])
            dist.broadcast(t, 0, group=self._control)
        return bool(t)

    def sum(self, t: torch.Tensor) -> torch.Tensor:
        """Add t up over all ranks, in place."""
        if self.size == 1:
            return t
        if not self._through_host:
            dist.all_reduce(t)
            return t
        host = t.cpu()
        dist.all_reduce(host)
        return t.copy_(host)

    def gather(self, t: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's t, of one shape, by rank."""
        if self.size == 1:
            return [t]
        own = (t.cpu() if self._through_host else t).contiguous()
        out = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(out, own)
        return [x.to(t.device) for x in out]

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1 and dist.is_initialized():
            with contextlib.suppress(Exception):
                dist.destroy_process_group()


def join(
    o: Options, size: int, platform: Platform, card: str, rank: RankThread, stopped: Callable[[], bool]
) -> Group:
    """Meet the other ranks: rank 0 publishes where its store listens. card is the own one's identity."""
    if size == 1:
        return Group(0, 1)
    keys = [p.RankID(o.pipeline, o.stage, o.replica, r).key() for r in range(size)]
    meeting = _Meeting(_jetstream(rank), keys, o.rank, rank, stopped)
    if o.rank == 0:
        host, _, fixed = o.host.partition(":")
        host = host or _own_address(o.nats)
        listener = socket.socket()
        listener.bind((host, int(fixed or 0)))
        port = listener.getsockname()[1]
        listener.listen(size * 4)
        store = _listen(host, port, size, listener.detach())
        meeting.gather(store, f"{host}:{port}")
    else:
        store = meeting.find()
    shared = _share_a_card(store, o.rank, size, card)
    if platform.device == "cpu" or shared:
        backend = "gloo"
    else:
        backend = f"cpu:gloo,{platform.device}:{platform.backend}"
    if shared:
        log.warning("ranks share a card, which %s cannot: collectives go over the host", platform.backend)
    dist.init_process_group(backend, store=store, rank=o.rank, world_size=size, timeout=_COLLECTIVE_TIMEOUT)
    control = dist.new_group(backend="gloo", timeout=_COLLECTIVE_TIMEOUT)
    return Group(o.rank, size, control, through_host=shared)


def _listen(host: str, port: int, size: int, fd: int) -> dist.TCPStore:
    """Rank 0's store on a socket that listens: its port is nobody else's."""
    options: dict[str, Any] = {
        "is_master": True,
        "wait_for_workers": False,
        "timeout": timedelta(seconds=_MEET_TIMEOUT_S),
    }
    try:
        return dist.TCPStore(host, port, size, master_listen_fd=fd, **options)
    except NotImplementedError:  # torch before 2.7: its newer backend takes no socket
        return dist.TCPStore(host, port, size, master_listen_fd=fd, use_libuv=False, **options)


def _share_a_card(store: Any, rank: int, size: int, card: str) -> bool:
    """Whether any two ranks of the replica run on one card of one host; all ranks say the same."""
    if not card:
        return False
    store.set(f"card{rank}", f"{socket.gethostname()} {card}")
    return len({bytes(store.get(f"card{r}")) for r in range(size)}) < size


def _own_address(url: str) -> str:
    """The address from which this host reaches the hub: what others can reach, too."""
    at = urlsplit(url if "://" in url else f"nats://{url}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((at.hostname or "127.0.0.1", at.port or 4222))  # sends nothing
        return str(s.getsockname()[0])


def _jetstream(rank: RankThread) -> JetStreamContext:
    assert rank.nc is not None
    return rank.nc.jetstream()


@dataclass
class _Meeting:
    """A replica's ranks before they are a group, as the one that is number `own` sees it.

    After a crash, of the hub say, what dead processes have published stands there for a while, and those that
    are not quite dead still listen. So a rank 0 says whom it has seen, and the others go to one that has
    seen them.
    """

    js: JetStreamContext
    keys: list[str]  # by rank
    own: int
    rank: RankThread
    stopped: Callable[[], bool]
    incarnation: str = field(default_factory=p.new_ulid)
    _said: dict[str, Any] = field(default_factory=dict)
    _said_at: float = 0.0

    def gather(self, store: dist.TCPStore, addr: str) -> None:
        """As rank 0: tell the others where the store is until all of them have come to it."""
        missing = 1
        for _ in self._poll():
            there = [self._lookup(r).get("incarnation", "") for r in range(1, len(self.keys))]
            if all(there) and store.check([_came(i) for i in there]):
                return
            missing = there.index("") + 1 if "" in there else missing
            self._say({"addr": addr, "with": there})
        raise TimeoutError(f"rank {missing} of the replica did not come")

    def find(self) -> dist.TCPStore:
        """As any other rank: go to the store of a rank 0 that has seen this process."""
        why = "it has published no address"
        for _ in self._poll():
            self._say({"addr": ""})
            first = self._lookup(0)
            host, _, port = str(first.get("addr", "")).rpartition(":")
            if not host or self.incarnation not in first.get("with", []):
                continue
            try:
                socket.create_connection((host, int(port)), _TRY_TIMEOUT_S).close()
                store = dist.TCPStore(
                    host,
                    int(port),
                    len(self.keys),
                    is_master=False,
                    timeout=timedelta(seconds=_MEET_TIMEOUT_S),
                )
                store.set(_came(self.incarnation), "1")
                return store
            except (OSError, RuntimeError, ValueError) as e:
                why = f"{host}:{port}: {e}"
        raise TimeoutError(f"rank 0 of the replica did not come: {why}")

    def _poll(self) -> Iterator[None]:
        deadline = time.monotonic() + _MEET_TIMEOUT_S
        while time.monotonic() < deadline and not self.stopped():
            yield
            time.sleep(_MEET_POLL_S)

    def _say(self, what: dict[str, Any]) -> None:
        """Publish what others are to know of this rank, where it is new or would run out."""
        now = time.monotonic()
        if what == self._said and now - self._said_at < _TTL_S / 3:
            return
        body = json.dumps({"incarnation": self.incarnation, **what}).encode()
        self.rank.wait(_publish(self.js, self.keys[self.own], body), 10)
        self._said, self._said_at = what, now

    def _lookup(self, rank: int) -> dict[str, Any]:
        return self.rank.wait(_lookup(self.js, self.keys[rank]), 10)


def _came(incarnation: str) -> str:
    """What a process that has come to the store leaves in it."""
    return f"came/{incarnation}"


async def _publish(js: JetStreamContext, key: str, body: bytes) -> None:
    config = api.KeyValueConfig(bucket=p.BUCKET_RENDEZVOUS, ttl=_TTL_S)
    try:
        kv = await js.key_value(p.BUCKET_RENDEZVOUS)
    except NotFoundError:
        kv = await js.create_key_value(config)
    await kv.put(key, body)


async def _lookup(js: JetStreamContext, key: str) -> dict[str, Any]:
    try:
        kv = await js.key_value(p.BUCKET_RENDEZVOUS)
        entry = await kv.get(key)
        found = json.loads(entry.value or b"{}")
    except (NotFoundError, ValueError, asyncio.TimeoutError):
        return {}
    return found if isinstance(found, dict) else {}
