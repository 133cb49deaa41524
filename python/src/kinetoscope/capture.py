"""SessionHandler: a rank's part in sessions, on top of TorchProfiler.

It decides as the Go ranks do (docs/protocol.md, A capture's life in a rank): one session armed
or recording; the recording opens and shuts where the schedule says, counted in steps or
requests; it ends by request, by the schedule, after max_duration, at max_bytes or when the hub falls silent.
Export runs in a thread of its own, so that the process goes on with its work; collect
waits for it.

max_bytes bounds what recording adds to the process's resident memory: torch keeps a
recording there and writes no file before its end.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from kinetoscope import protocol as p
from kinetoscope import regions
from kinetoscope.exported import Exported, Made
from kinetoscope.past import PastRecorder
from kinetoscope.rank import File
from kinetoscope.schedule import OPEN, SHUT, WARM, Schedule

log = logging.getLogger("kinetoscope.capture")

# Sessions that a rank remembers: one that records and those not yet collected.
MAX_CAPTURES = 8
# How often resident memory is looked at, if max_bytes is set.
_MEMORY_INTERVAL_S = 0.1
# What a hub that must salvage finds of a recording whose process was killed.
SPILL_NAME = "regions.json"
# How long freeing a recording may silence the process, by its slices: torch was measured at 7 µs
# a slice, and a busy machine takes a few times that.
_QUIET_S, _QUIET_PER_SLICE_S = 2.0, 20e-6
# What an answer needs to be on its way before the process falls silent.
_ANSWER_S = 0.05
# How long start waits for the recorder beyond the instant: a step may be under way.
_START_PATIENCE_S = 60.0


_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


class Recorder(Protocol):
    """What a capture drives; TorchProfiler is one."""

    def prepare(self, directory: Path, spill: Path) -> None:
        """Make all that can fail. spill is for what must be on disk if the process is killed."""

    def warm(self) -> None:
        """Get ready to open at once."""

    def open(self) -> None:
        """Record from here on."""

    def close(self) -> None:
        """End the recording."""

    def discard(self) -> None:
        """Give up what was never opened."""

    def export(self, final: Callable[[str], Path] | None = None) -> Exported:
        """Write the files."""

    def release(self) -> None:
        """Give the recording's memory back; may hold up the whole process."""


MakeRecorder = Callable[[p.ArmRequest], Recorder]
# Runs a function on the thread that may touch the recorder, soon, once.
Runner = Callable[[Callable[[], None]], None]


def _at_once(f: Callable[[], None]) -> None:
    f()


class _Capture:
    """One session on this rank. SessionHandler's lock guards it."""

    def __init__(
        self, r: p.ArmRequest, recorder: Recorder, status: p.RankStatus, part: Path, spill: Path
    ) -> None:
        self.req, self.recorder, self.status = r, recorder, status
        self.part, self.spill = part, spill
        self.sched = Schedule(r.config)
        self.asked = False
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.dropped = threading.Event()  # the hub has all that it wants
        self.timers: list[threading.Timer] = []
        self.hub_seen = time.monotonic()
        self.exported: Future[Exported] | None = None

    @property
    def live(self) -> bool:
        return self.status.state in (p.ARMED, p.RECORDING)


class SessionHandler:
    """Handler of a process that records with torch. Safe for concurrent use.

    on_recorder runs what touches the recorder on the thread that is recorded; without it
    that is done at once on whatever thread asks. That thread calls step when a decode or
    denoise step has ended, and request when a request has.
    """

    def __init__(
        self,
        info: p.RankInfo,
        spool: Path,
        make: MakeRecorder,
        *,
        on_recorder: Runner | None = None,
        notify: Callable[[p.RankStatus], None] | None = None,
        calls: Callable[[str, dict[str, Any]], Any] | None = None,
        quiet: Callable[[float], AbstractContextManager[None]] | None = None,
        hub_ttl_s: float = p.HUB_LOSS_TIMEOUT_S,
    ) -> None:
        self._info, self._spool, self._make = info, spool, make
        self._run: Runner = on_recorder or _at_once
        self.notify = notify or (lambda s: None)
        self.quiet = quiet or (lambda seconds: nullcontext())
        self._calls, self._hub_ttl = calls, hub_ttl_s
        self._lock = threading.RLock()
        self._active: _Capture | None = None
        self._captures: dict[str, _Capture] = {}
        self._closed = False
        self._exports = ThreadPoolExecutor(1, "kinetoscope-export")

    # The hub's methods

    def arm(self, r: p.ArmRequest) -> p.RankStatus:
        """Make the recorder; nothing records yet."""
        if not _ULID.match(r.session):  # it becomes part of a path
            raise ValueError(f"arm: session {r.session!r} is no ULID")
        r.config.validate()
        if r.last_ns and not regions.keeps_past():
            raise RuntimeError("the flight recorder is off on this rank: give the stage flight_recorder_mb")
        if r.config.profiler == "":
            r.config.profiler = "torch"
        while True:
            with self._lock:
                if self._closed:
                    raise RuntimeError("arm: the rank is leaving")
                known = self._captures.get(r.session)
                if known is not None and known.live:
                    return self._live(known)
                if known is not None:
                    raise RuntimeError(
                        f"arm: session {r.session} was here already and is {known.status.state}"
                    )
                busy = self._active
                if busy is None:
                    return self._armed(r)
                if not (r.hub and busy.req.hub == r.hub):
                    of = f"session {busy.req.session} of hub {busy.req.hub!r}"
                    raise RuntimeError(f"arm: {of} is {busy.status.state}")
            self._end(busy, p.BY_SUPERSEDED, wait=True)

    def _armed(self, r: p.ArmRequest) -> p.RankStatus:
        directory = self._spool / r.session
        # Not begun with file_base and a dot: what the hub salvages are complete files only.
        part = directory / f"{self._info.file_base()}_parts"
        recorder = self._recorder(r)
        status = p.RankStatus(state=p.ARMED, session=r.session, stage_name=self._info.stage_name)
        c = _Capture(r, recorder, status, part, self._spill_file(r.session))
        recorder.prepare(part, c.spill)
        if c.sched.start() == OPEN:
            recorder.warm()
        self._active = self._captures[r.session] = c
        while len(self._captures) > MAX_CAPTURES:
            oldest = next(iter(self._captures))
            if self._captures[oldest].live:
                break
            old = self._captures.pop(oldest)
            if old.exported is None or old.exported.done():
                old.recorder.release()
        if r.hub:
            self._watch_hub(c)
        return self._live(c)

    def _recorder(self, r: p.ArmRequest) -> Recorder:
        if r.last_ns:
            return PastRecorder(r.last_ns, self._info, packed=r.config.torch_profiler_use_gzip)
        return self._make(r)

    def _spill_file(self, session: str) -> Path:
        return self._spool / session / f"{self._info.file_base()}.{SPILL_NAME}"

    def start(self, r: p.StartRequest) -> p.RankStatus:
        """Begin at the instant and return after it."""
        with self._lock:
            c = self._captures.get(r.session)
            if c is None:
                raise RuntimeError(f"start: session {r.session} is not armed here")
            if c.status.state == p.ARMED and not c.asked:
                c.asked = True
                wait = max(0.0, (r.at_ns - p.now_ns()) / 1e9)
                # The past is taken on this thread: the recorded one may hang in a step.
                run = self._run if not c.req.last_ns else _at_once
                self._timer(c, wait, lambda: run(lambda: self._begin(c)))
        wait = max(0.0, (r.at_ns - p.now_ns()) / 1e9)
        if not c.begun.wait(wait + _START_PATIENCE_S):
            raise TimeoutError(
                f"start: the process did not come to a step's end within {_START_PATIENCE_S} s"
            )
        with self._lock:
            if c.status.state == p.FAILED:
                raise RuntimeError(c.status.reason)
            return self._live(c)

    def stop(self, r: p.SessionRequest) -> p.RankStatus:
        """End the recording, whatever its schedule has reached."""
        c = self._known("stop", r.session)
        self._end(c, p.BY_REQUEST, wait=True)
        with self._lock:
            return self._live(c)

    def collect(self, r: p.SessionRequest) -> tuple[p.RankStatus, list[File]]:
        """Wait for the export and return its files."""
        with self._lock:
            known = r.session in self._captures
        if not known and (left := self._leftovers(r.session)):
            why = "left by an earlier process"
            return p.RankStatus(state=p.STOPPED, session=r.session, reason=why), left
        c = self._known("collect", r.session)
        if c.live:
            raise RuntimeError(f"collect: session {r.session} is {c.status.state}")
        if c.exported is None:
            return self._live(c), []
        made = c.exported.result()
        with self._lock:
            s = c.status
            s.events, s.drops = made.slices, made.dropped
            s.bytes = sum(f.path.stat().st_size for f in made.files)
            return self._live(c), [File(f.name, f.kind, f.path) for f in made.files]

    def abort(self, r: p.AbortRequest) -> p.RankStatus:
        """Drop a session and, unless r.keep, its files."""
        with self._lock:
            c = self._captures.get(r.session)
        if c is None:
            if not r.keep:
                for left in self._leftovers(r.session):
                    left.path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):  # other ranks' files are in it
                        left.path.parent.rmdir()
            return self.status()
        self._end(c, p.BY_REQUEST, wait=True)
        if r.keep:
            if c.exported is not None:
                c.exported.exception()  # the hub salvages when this returns
            self._free_soon(c)
            return self.status()
        with self._lock:
            self._captures.pop(r.session, None)
        if c.exported is not None and c.exported.exception() is None:
            for f in c.exported.result().files:
                f.path.unlink(missing_ok=True)
        self._sweep(c)
        c.dropped.set()
        self._free_soon(c)
        return self.status()

    def _free_soon(self, c: _Capture) -> None:
        """Give a recording's memory back once the hub has its answer: that may hold up the process."""
        with contextlib.suppress(RuntimeError):  # the process ends, and its memory with it
            self._exports.submit(self._free, c)

    def _free(self, c: _Capture) -> None:
        time.sleep(_ANSWER_S)
        if self._closed:
            return
        slices = c.exported.result().slices if c.exported is not None and not c.exported.exception() else 0
        with self.quiet(_QUIET_S + slices * _QUIET_PER_SLICE_S):
            c.recorder.release()

    def status(self) -> p.RankStatus:
        """Of the session that is armed or recording, or idle."""
        with self._lock:
            s = p.RankStatus(stage_name=self._info.stage_name)
            if self._active is not None:
                s = self._live(self._active)
            s.held = [i for i, c in self._captures.items() if not c.live and c.status.started_at_ns]
            return s

    def call(self, r: p.CallRequest) -> Any:
        """A method of collective_rpc."""
        if self._calls is None:
            raise ValueError(f"unknown method {r.method!r}")
        return self._calls(r.method, r.args)

    def hub_seen(self, hub: str) -> None:
        """Keep alive the session that this hub armed."""
        c = self._active
        if c is not None and c.req.hub == hub:
            c.hub_seen = time.monotonic()

    def session(self) -> str:
        """The session that it is armed for or records, else nothing."""
        c = self._active
        return c.req.session if c is not None else ""

    # The work's side

    def step(self) -> None:
        """A decode or denoise step has ended. Call it on the thread that is recorded."""
        if self._active is not None:
            self._iteration_end(request=False)

    def request(self) -> None:
        """A request has ended."""
        if self._active is not None:
            self._iteration_end(request=True)

    def close(self, patience_s: float = 0) -> None:
        """End what records, keep its files, and wait for the exports.

        With patience_s a recording that the process's end cuts short is the hub's to collect
        for so long before this returns.
        """
        with self._lock:
            self._closed = True
            c = self._active
        if c is not None:
            self._end(c, p.BY_EXIT, wait=False)
        self._exports.shutdown(wait=True)
        if c is not None and c.exported is not None and c.req.hub and not c.dropped.wait(patience_s):
            log.warning("session %s: nobody collected the recording; it is in %s", c.req.session, self._spool)

    # Inside

    def _known(self, verb: str, session: str) -> _Capture:
        with self._lock:
            c = self._captures.get(session)
        if c is None:
            raise RuntimeError(f"{verb}: session {session} is not known here")
        return c

    def _leftovers(self, session: str) -> list[File]:
        """What another process of this rank left of a session, or this one of one it has forgotten."""
        if not _ULID.match(session):  # it becomes part of a path
            return []
        base = self._info.file_base() + "."
        found = sorted((self._spool / session).glob(base + "*"))
        return [
            File(f.name.removeprefix(base), "trace", f) for f in found if f.is_file() and f.stat().st_size
        ]

    def _live(self, c: _Capture) -> p.RankStatus:
        s = p.RankStatus(**vars(c.status))
        s.iterations = c.sched.recorded
        return s

    def _timer(self, c: _Capture, seconds: float, f: Callable[[], None]) -> None:
        t = threading.Timer(seconds, f)
        t.daemon = True
        c.timers.append(t)
        t.start()

    def _watch_hub(self, c: _Capture) -> None:
        def look() -> None:
            left = c.hub_seen + self._hub_ttl - time.monotonic()
            with self._lock:
                if not c.live:
                    return
                if left > 0:
                    self._timer(c, left, look)
                    return
            self._end(c, p.BY_HUB_LOST, wait=False)

        self._timer(c, self._hub_ttl, look)

    def _watch_memory(self, c: _Capture, before: int) -> None:
        def look() -> None:
            with self._lock:
                if not c.live:
                    return
                if resident() - before < c.req.max_bytes:
                    self._timer(c, _MEMORY_INTERVAL_S, look)
                    return
            self._end(c, p.BY_BYTES, wait=False)

        self._timer(c, _MEMORY_INTERVAL_S, look)

    def _begin(self, c: _Capture) -> None:
        """The agreed instant, on the recorder's thread."""
        with self._lock:
            if c.status.state != p.ARMED:
                return
            c.status.state = p.RECORDING
            if c.req.last_ns:
                self._look_back(c)
                return
            try:
                self._move(c, c.sched.start())
            except Exception as e:
                self._fail(c, e)
            else:
                if c.req.max_duration_ns > 0:
                    seconds = c.req.max_duration_ns / 1e9
                    self._timer(c, seconds, lambda: self._end(c, p.BY_DURATION, wait=False))
                if c.req.max_bytes > 0:
                    self._watch_memory(c, resident())
            c.begun.set()

    def _look_back(self, c: _Capture) -> None:
        c.recorder.open()
        c.status.started_at_ns = p.now_ns() - c.req.last_ns
        self._shut(c, p.BY_FLIGHT)

    def _move(self, c: _Capture, move: str) -> None:
        if move == WARM:
            c.recorder.warm()
        elif move == OPEN:
            c.recorder.open()
            c.status.started_at_ns = p.now_ns()
        elif move == SHUT:
            self._shut(c, c.sched.cause)

    def _iteration_end(self, *, request: bool) -> None:
        with self._lock:
            c = self._active
            if c is None or c.status.state != p.RECORDING:
                return
            if (c.req.config.iteration == "request") != request:
                return
            try:
                self._move(c, c.sched.iteration_end())
            except Exception as e:
                self._fail(c, e)

    def _end(self, c: _Capture, cause: str, *, wait: bool) -> None:
        """End a capture on the recorder's thread, whoever asks."""
        with self._lock:
            if not c.live:
                return

        def end() -> None:
            with self._lock:
                if c.live:
                    self._shut(c, cause)

        self._run(end)
        if wait and not c.ended.wait(_START_PATIENCE_S):
            raise TimeoutError(f"stop: the process did not come to a step's end within {_START_PATIENCE_S} s")

    def _shut(self, c: _Capture, cause: str) -> None:
        """Stop the recorder and hand its data to the export. On the recorder's thread."""
        for t in c.timers:
            t.cancel()
        c.timers.clear()
        s = c.status
        try:
            if s.started_at_ns:
                c.recorder.close()
                s.stopped_at_ns = p.now_ns()
                c.exported = self._exports.submit(self._export, c)
            else:
                c.recorder.discard()
                s.reason = "stopped before it recorded"
                if s.state == p.RECORDING:
                    s.reason = "the schedule had not reached its first iteration to record"
                self._sweep(c)
            s.state, s.stopped_by = p.STOPPED, cause
        except Exception as e:
            self._fail(c, e)
            return
        self._release(c)
        if cause not in (p.BY_REQUEST, p.BY_SUPERSEDED):  # the hub knows of these
            self.notify(self._live(c))

    def _export(self, c: _Capture) -> Exported:
        base = self._info.file_base()

        def final(name: str) -> Path:
            # Only a complete trace begins with file_base and a dot: a hub that must
            # salvage takes just that (docs/protocol.md, A session).
            sep = "." if name.startswith("trace.") else "_"
            return c.part.parent / f"{base}{sep}{name}"

        began = time.monotonic()
        try:
            made = c.recorder.export(final)
        except Exception as e:
            log.exception("session %s: export failed", c.req.session)
            if not c.spill.exists():
                raise
            note = f"only regions, no operators: the export failed: {type(e).__name__}: {e}"
            made = Exported([Made(SPILL_NAME, "trace", c.spill)], [note])
        else:
            c.spill.unlink(missing_ok=True)
        finally:
            shutil.rmtree(c.part, ignore_errors=True)
        for note in made.notes:
            log.warning("session %s: %s", c.req.session, note)
        with self._lock:
            c.status.reason = "; ".join(made.notes)
        log.info("session %s: exported in %.1f s", c.req.session, time.monotonic() - began)
        return made

    def _fail(self, c: _Capture, e: Exception) -> None:
        log.error("session %s: recording failed", c.req.session, exc_info=e)
        for t in c.timers:
            t.cancel()
        c.status.state, c.status.reason = p.FAILED, f"{type(e).__name__}: {e}"
        if c.status.started_at_ns:
            shutil.rmtree(c.part, ignore_errors=True)  # its regions stay for the hub to salvage
        else:  # it never recorded, so nothing may stay on
            with contextlib.suppress(Exception):  # the reason is the one that is told
                c.recorder.discard()
            self._sweep(c)
        self._release(c)
        self.notify(self._live(c))

    def _release(self, c: _Capture) -> None:
        if self._active is c:
            self._active = None
        c.begun.set()
        c.ended.set()

    def _sweep(self, c: _Capture) -> None:
        shutil.rmtree(c.part, ignore_errors=True)
        c.spill.unlink(missing_ok=True)
        try:
            c.part.parent.rmdir()  # goes with the last rank's file
        except OSError:
            return


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as f:
            return int(f.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
