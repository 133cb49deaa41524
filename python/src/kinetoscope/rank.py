"""The rank's side of the control plane over NATS.

A Member answers the hub's methods, keeps the rank's presence alive and uploads what was
recorded; what a method does is the Handler's business. The service speaks NATS micro:
`$SRV.PING`, `.INFO` and `.STATS` are answered here rather than by nats-py, whose services
always take a queue group, and a rank must have none (docs/protocol.md, Subjects).

RankThread runs a Member on an event loop of its own thread, for programs that have other
things to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import json
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api
from nats.js.errors import KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from kinetoscope import protocol as p
from kinetoscope.place import TakenError, check_free, holder, started

log = logging.getLogger("kinetoscope.rank")

# A hub has a few requests under way; a flood is refused instead of queued.
MAX_IN_FLIGHT = 64
# Bounds one renewal, so that a slow one delays the next little.
_PRESENCE_TIMEOUT_S = 2.0
# How often join looks for the hub's buckets.
_RETRY_S = 0.1
# The object store's chunk: few messages for large files, well under MAX_PAYLOAD.
_UPLOAD_CHUNK = 1 << 20
# Bounds the goodbye.
_LEAVE_TIMEOUT_S = 5.0

# How often a rank that waits for its place looks whether it is free.
_PLACE_POLL_S = 1.0

R = TypeVar("R")


@dataclass
class File:
    """One file that a rank hands over; name is without directory and rank."""

    name: str
    kind: str
    path: Path


class Handler(Protocol):
    """What a rank does when the hub asks.

    Methods are called from several threads at once and must be idempotent. An exception is
    a refusal, and its text the reason of the rank's failure. The Member fills in who it is.
    """

    def arm(self, r: p.ArmRequest) -> p.RankStatus:
        """Make ready to record; all that can fail, fails here."""

    def start(self, r: p.StartRequest) -> p.RankStatus:
        """Begin at r.at_ns and return after that instant."""

    def stop(self, r: p.SessionRequest) -> p.RankStatus:
        """End the recording."""

    def collect(self, r: p.SessionRequest) -> tuple[p.RankStatus, list[File]]:
        """Return the files of a stopped session; they stay until abort."""

    def abort(self, r: p.AbortRequest) -> p.RankStatus:
        """Drop a session in whatever state it is; an unknown one is no error."""

    def status(self) -> p.RankStatus:
        """What the profiler does now."""

    def call(self, r: p.CallRequest) -> Any:
        """A method of collective_rpc."""

    def hub_seen(self, hub: str) -> None:
        """A beat of the hub of that name came in. Must not block."""

    def session(self) -> str:
        """The session that it is armed for or records, else nothing. Must not block."""


def fill_in(info: p.RankInfo) -> p.RankInfo:
    """Fill in what a process knows of itself, where info leaves it open."""
    info.id().validate()
    info.incarnation = info.incarnation or p.new_ulid()
    info.pid = info.pid or os.getpid()
    info.host = info.host or socket.gethostname()
    info.started_at = info.started_at or datetime.datetime.now(datetime.timezone.utc).isoformat()
    if info.spool_dir:
        info.spool_dir = str(Path(info.spool_dir).absolute())
    return info


@dataclass
class _Endpoint:
    """Counts what NATS micro's STATS shows."""

    name: str
    subject: str
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    time_ns: int = 0


class Member:
    """A rank that takes part. Use it on one event loop; join before anything else."""

    def __init__(self, nc: Client, info: p.RankInfo, handler: Handler) -> None:
        self.info = fill_in(info)
        self._id = info.id()
        self._nc, self._h = nc, handler
        self._js: JetStreamContext = nc.jetstream()
        self._kv: KeyValue | None = None
        self.on_replaced: Callable[[TakenError], None] | None = None
        self._subs: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._leaving = False
        self._revision = 0
        self._service_id = p.new_ulid()
        self._started = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT, "kinetoscope-request")
        self._endpoints = {
            m: _Endpoint(m, self._id.subject(m))
            for m in ("clock", "arm", "start", "stop", "collect", "abort", "status", "call")
        }

    async def join(self, timeout_s: float = 60.0) -> None:
        """Make the process known as a rank; waits for a hub to have made the buckets.

        A place that another process serves is refused with TakenError as long as that one answers.
        """
        deadline = time.monotonic() + timeout_s
        while self._kv is None:
            try:
                self._kv = await self._js.key_value(p.BUCKET_RANKS)
            except (NotFoundError, nats.errors.Error) as e:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"join as {self._id.text()}: no hub has made {p.BUCKET_RANKS}: {e}"
                    ) from e
                await asyncio.sleep(_RETRY_S)
        await check_free(self._nc, self._kv, self._id, self.info.incarnation)
        await self._subscribe(p.HUB_BEATS, self._beat)
        for name in self._endpoints:
            await self._subscribe(self._endpoints[name].subject, self._endpoint(name))
        for verb, reply in (("PING", self._ping), ("INFO", self._micro_info), ("STATS", self._stats)):
            for tail in ("", f".{p.SERVICE_NAME}", f".{p.SERVICE_NAME}.{self._service_id}"):
                await self._subscribe(f"$SRV.{verb}{tail}", self._discovery(reply))
        await self._nc.flush()  # the endpoints must be there before anyone reads the presence
        await self.announce()
        self._spawn(self._keep_present())

    async def leave(self) -> None:
        """End the rank's part; the presence goes if it is still this process's own."""
        self._leaving = True
        for s in self._subs:
            with contextlib.suppress(nats.errors.Error):
                await s.unsubscribe()
        tasks = list(self._tasks)
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._kv is not None and self._revision and not self._nc.is_closed:
            try:
                await asyncio.wait_for(self._kv.delete(self._id.key(), last=self._revision), _LEAVE_TIMEOUT_S)
            except Exception as e:
                log.debug("presence stays until it expires: %s", e)

    async def set_ready(self, ready: bool) -> None:
        """Announce whether requests are served."""
        self.info.ready = ready
        await self.announce()

    async def notify(self, s: p.RankStatus) -> None:
        """Tell the hub, unasked, that a recording ended. Best effort; the hub asks anyway."""
        try:
            await self._nc.publish(self._id.event_subject(), self._named(s).to_json())
        except Exception as e:
            log.warning("cannot report the end of a recording of session %s: %s", s.session, e)

    def _named(self, s: p.RankStatus) -> p.RankStatus:
        s.pipeline, s.stage, s.replica, s.rank = (
            self._id.pipeline,
            self._id.stage,
            self._id.replica,
            self._id.rank,
        )
        s.stage_name = self.info.stage_name
        return s

    async def _subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self._subs.append(await self._nc.subscribe(subject, cb=cb))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        t = asyncio.get_running_loop().create_task(work)
        self._tasks.add(t)
        t.add_done_callback(self._tasks.discard)

    # Presence

    async def announce(self) -> None:
        """Renew the presence."""
        assert self._kv is not None
        self.info.session = self._h.session()
        rev = await asyncio.wait_for(self._put(self.info.to_json()), _PRESENCE_TIMEOUT_S)
        self._revision = max(self._revision, rev)

    async def _put(self, body: bytes) -> int:
        """Write the presence over this process's own last one, or anew if that has run out."""
        assert self._kv is not None
        if self._revision:
            try:
                return await self._kv.update(self._id.key(), body, last=self._revision)
            except KeyWrongLastSequenceError:
                other = await holder(self._kv, self._id)
                mine = self.info.incarnation
                if other and other.incarnation != mine and started(other) >= started(self.info):
                    raise TakenError(other) from None
        return await self._kv.put(self._id.key(), body)

    async def _keep_present(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(p.PRESENCE_INTERVAL_S)
            try:
                await self.announce()
                if failing:
                    log.warning("presence of %s is renewed again", self._id.key())
                failing = False
            except TakenError as e:
                log.error("another process has taken the rank's place: %s", e)
                if self.on_replaced is not None:
                    self.on_replaced(e)
                return
            except (nats.errors.Error, asyncio.TimeoutError, OSError) as e:
                if not failing:  # once when it begins
                    log.warning("presence of %s is not renewed: %s", self._id.key(), e or type(e).__name__)
                failing = True

    async def _beat(self, msg: Msg) -> None:
        with contextlib.suppress(ValueError):
            self._h.hub_seen(p.HubBeat.from_json(msg.data).hub)

    # Requests

    def _endpoint(self, name: str) -> Callable[[Msg], Awaitable[None]]:
        async def on(msg: Msg) -> None:
            t2 = p.now_ns()
            wanted = (msg.headers or {}).get(p.HEADER_INCARNATION, "")
            if self._leaving or (wanted and wanted != self.info.incarnation):
                return
            e = self._endpoints[name]
            e.requests += 1
            if name == "clock":  # answered here: a detour would make the error larger
                await self._clock(e, msg, t2)
            elif self._in_flight >= MAX_IN_FLIGHT:
                await self._refuse(e, msg, "503", f"{self._in_flight} requests are under way")
            else:
                self._in_flight += 1
                self._spawn(self._answer(e, msg, t2))

        return on

    async def _clock(self, e: _Endpoint, msg: Msg, t2: int) -> None:
        try:
            probe = p.ClockProbe.from_json(msg.data)
        except ValueError as err:
            await self._refuse(e, msg, "400", str(err))
            return
        await self._respond(msg, json.dumps({"t1": probe.t1, "t2": t2, "t3": p.now_ns()}).encode())

    async def _answer(self, e: _Endpoint, msg: Msg, began: int) -> None:
        try:
            try:
                work = self._work(e.name, msg.data)
            except ValueError as err:
                await self._refuse(e, msg, "400", str(err))
                return
            try:
                body = await work
            except Exception as err:
                log.warning("%s refused: %s", e.name, err, exc_info=log.isEnabledFor(logging.DEBUG))
                await self._refuse(e, msg, "409", str(err) or type(err).__name__)
                return
            await self._respond(msg, body)
        finally:
            self._in_flight -= 1
            e.time_ns += p.now_ns() - began

    def _work(self, name: str, data: bytes) -> Coroutine[Any, Any, bytes]:
        """The coroutine that answers a request; ValueError if its body cannot be read."""
        h = self._h
        if name == "arm":
            return self._status_of(h.arm, p.ArmRequest.from_json(data))
        if name == "start":
            return self._status_of(h.start, p.StartRequest.from_json(data))
        if name == "stop":
            return self._status_of(h.stop, p.SessionRequest.from_json(data))
        if name == "abort":
            return self._status_of(h.abort, p.AbortRequest.from_json(data))
        if name == "collect":
            return self._collect(p.SessionRequest.from_json(data))
        if name == "call":
            return self._call(p.CallRequest.from_json(data))
        return self._status_of(lambda _: h.status(), None)

    async def _thread(self, f: Callable[..., R], *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, f, *args)

    async def _status_of(self, f: Callable[[Any], p.RankStatus], r: Any) -> bytes:
        return self._named(await self._thread(f, r)).to_json()

    async def _call(self, r: p.CallRequest) -> bytes:
        i = self._id
        reply = p.CallReply(i.pipeline, i.stage, i.replica, i.rank)
        try:
            reply.result, reply.ok = await self._thread(self._h.call, r), True
            return reply.to_json()
        except Exception as e:
            reply.ok, reply.result, reply.error = False, None, str(e) or type(e).__name__
            return reply.to_json()

    async def _collect(self, r: p.SessionRequest) -> bytes:
        status, files = await self._thread(self._h.collect, r)
        if files:
            store = await self._js.object_store(r.bucket or p.BUCKET_ARTIFACTS)
            status.artifacts = []
            for f in files:
                name = f"{r.session}/{self._id.key()}/{f.name}"
                digest, size = await self._thread(_digest, f.path)
                with f.path.open("rb") as src:
                    options = api.ObjectMetaOptions(max_chunk_size=_UPLOAD_CHUNK)
                    got = await store.put(name, src, api.ObjectMeta(name=name, options=options))
                if got.size != size:
                    raise OSError(f"upload {f.path}: {got.size} of {size} bytes")
                status.artifacts.append(p.Artifact(f.name, f.kind, size, digest, name))
        return self._named(status).to_json()

    async def _respond(self, msg: Msg, body: bytes) -> None:
        if not msg.reply:
            return
        try:
            await self._nc.publish(msg.reply, body)
        except Exception as e:
            log.warning("cannot reply to %s: %s", msg.subject, e)

    async def _refuse(self, e: _Endpoint, msg: Msg, code: str, why: str) -> None:
        e.errors += 1
        e.last_error = why
        if msg.reply:
            line = " ".join(why.split())  # a header holds one line
            headers = {"Nats-Service-Error": line, "Nats-Service-Error-Code": code}
            await self._nc.publish(msg.reply, b"", headers=headers)

    # NATS micro's discovery

    def _discovery(self, reply: Callable[[], dict[str, Any]]) -> Callable[[Msg], Awaitable[None]]:
        async def on(msg: Msg) -> None:
            await self._respond(msg, json.dumps(reply()).encode())

        return on

    def _ping(self, kind: str = "io.nats.micro.v1.ping_response") -> dict[str, Any]:
        return {
            "type": kind,
            "name": p.SERVICE_NAME,
            "id": self._service_id,
            "version": "1.0.0",
            "metadata": {
                "rank": self._id.key(),
                "incarnation": self.info.incarnation,
                "stage_name": self.info.stage_name,
                "protocol": str(p.VERSION),
                "host": self.info.host,
                "pid": str(self.info.pid),
            },
        }

    def _micro_info(self) -> dict[str, Any]:
        return self._ping("io.nats.micro.v1.info_response") | {
            "description": f"profiler control of {self._id.text()}",
            "endpoints": [
                {"name": e.name, "subject": e.subject, "queue_group": "", "metadata": None}
                for e in self._endpoints.values()
            ],
        }

    def _stats(self) -> dict[str, Any]:
        return self._ping("io.nats.micro.v1.stats_response") | {
            "started": self._started,
            "endpoints": [
                {
                    "name": e.name,
                    "subject": e.subject,
                    "queue_group": "",
                    "num_requests": e.requests,
                    "num_errors": e.errors,
                    "last_error": e.last_error,
                    "processing_time": e.time_ns,
                    "average_processing_time": e.time_ns // max(1, e.requests),
                }
                for e in self._endpoints.values()
            ],
        }


def _digest(path: Path) -> tuple[str, int]:
    h, n = hashlib.sha256(), 0
    with path.open("rb") as f:
        while part := f.read(_UPLOAD_CHUNK):
            h.update(part)
            n += len(part)
    return h.hexdigest(), n


def _credentials(path: str) -> dict[str, Any]:
    """Return nats.connect's option for a .creds file or a file with an nkey's seed."""
    with open(path, encoding="utf-8") as f:
        jwt = "BEGIN NATS USER JWT" in f.read(64 << 10)
    return {"user_credentials": path} if jwt else {"nkeys_seed": path}


class RankThread:
    """A Member on the event loop of a thread of its own. Methods may be called from any thread."""

    def __init__(
        self,
        url: str,
        info: p.RankInfo,
        on_closed: Callable[[], None] | None = None,
        *,
        on_replaced: Callable[[TakenError], None] | None = None,
        token: str = "",
        ca: str = "",
        cert: str = "",
        key: str = "",
        creds: str = "",
    ) -> None:
        self._url, self._on_closed, self._on_replaced = url, on_closed, on_replaced
        self._options: dict[str, Any] = {}
        token = token or os.environ.get("KINETOSCOPE_NATS_TOKEN", "")
        ca = ca or os.environ.get("KINETOSCOPE_NATS_TLS_CA", "")
        cert = cert or os.environ.get("KINETOSCOPE_NATS_TLS_CERT", "")
        key = key or os.environ.get("KINETOSCOPE_NATS_TLS_KEY", "")
        creds = creds or os.environ.get("KINETOSCOPE_NATS_CREDS", "")
        if creds:
            self._options |= _credentials(creds)
        if token and "@" not in url:
            self._options["token"] = token
        if ca or cert:
            context = ssl.create_default_context(cafile=ca or None)
            if cert:
                context.load_cert_chain(cert, key or None)
            self._options["tls"] = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kinetoscope-rank", daemon=True)
        self._info = info
        self._closed = False
        self.nc: Client | None = None
        self.member: Member | None = None

    def connect(self) -> None:
        """Connect to NATS; the rank is not yet announced."""
        self._thread.start()
        self.wait(self._connect(), 30)

    def join(self, handler: Handler, timeout_s: float = 60.0) -> None:
        """Announce the rank and answer the hub with handler from here on."""
        self.wait(self._join(handler, timeout_s), timeout_s + 5)

    def await_place(self, stop: Callable[[], bool], *, wait: bool) -> None:
        """Return when no process that answers serves this rank's place; without wait, raise TakenError."""

        async def check() -> None:
            assert self.nc is not None
            with contextlib.suppress(NotFoundError):  # without a hub nobody serves
                kv = await self.nc.jetstream().key_value(p.BUCKET_RANKS)
                await check_free(self.nc, kv, self._info.id(), self._info.incarnation)

        said = False
        while not stop():
            try:
                return self.wait(check(), 2 * _LEAVE_TIMEOUT_S)
            except TakenError as e:
                if not wait:
                    raise
                if not said:
                    said = True
                    log.warning("waiting for the place to become free: %s", e)
                time.sleep(_PLACE_POLL_S)

    async def _connect(self) -> None:
        async def closed() -> None:
            if not self._closed and self._on_closed is not None:
                self._on_closed()

        identity = self._info.id().identity()
        self.nc = await nats.connect(
            self._url,
            name=identity,
            inbox_prefix=f"_INBOX.{identity}".encode(),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            closed_cb=closed,
            error_cb=_quiet,
            pending_size=64 << 20,
            **self._options,
        )

    async def _join(self, handler: Handler, timeout_s: float) -> None:
        assert self.nc is not None
        member = Member(self.nc, self._info, handler)
        member.on_replaced = self._on_replaced
        await member.join(timeout_s)
        self.member = member

    def wait(self, work: Coroutine[Any, Any, R], timeout_s: float | None = None) -> R:
        """Run work on the rank's loop and wait for its result."""
        return self.submit(work).result(timeout_s)

    def submit(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Run work on the rank's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def publish(self, subject: str, data: bytes) -> None:
        """Send, in the order of calls of one thread; NATS buffers while it reconnects."""
        assert self.nc is not None
        f = self.submit(self.nc.publish(subject, data))
        f.add_done_callback(_report)

    def notify(self, s: p.RankStatus) -> None:
        """Tell the hub, unasked, that a recording ended."""
        if self.member is not None and not self._closed:
            self.submit(self.member.notify(s))

    @contextlib.contextmanager
    def quiet(self, seconds: float) -> Iterator[None]:
        """Tell the hub that this process may say nothing for so long, while what is inside runs."""
        member = self.member
        if member is None or self._closed:
            yield
            return
        self._info.quiet_ns = int(seconds * 1e9)
        with contextlib.suppress(Exception):  # unheard, it is what it was before
            self.wait(member.announce(), _PRESENCE_TIMEOUT_S)
        try:
            yield
        finally:
            self._info.quiet_ns = 0

    def close(self) -> None:
        """Leave and end the thread. It may be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            with contextlib.suppress(Exception):
                self.wait(self._shut(), 2 * _LEAVE_TIMEOUT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_LEAVE_TIMEOUT_S)
        if not self._loop.is_running():
            self._loop.close()

    async def _shut(self) -> None:
        if self.member is not None:
            await self.member.leave()
        if self.nc is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.nc.flush(), 1)
            await self.nc.close()


def _report(f: Future[None]) -> None:
    if not f.cancelled() and (e := f.exception()) is not None:
        log.error("message not sent: %s", e)


async def _quiet(e: Exception) -> None:
    log.debug("nats: %s", e)
