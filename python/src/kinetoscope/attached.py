"""attach: make any Python process a rank of a session, without a restart and without a daemon."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

from kinetoscope import platforms, profiler, regions
from kinetoscope import protocol as p
from kinetoscope.actions import Actions
from kinetoscope.capture import SessionHandler
from kinetoscope.rank import RankThread, fill_in
from kinetoscope.spool import Spool
from kinetoscope.spool import make as make_spool

log = logging.getLogger("kinetoscope.attach")

# The pipeline that attached processes form, if none is named.
PIPELINE = "attached"
# How long the end of the process waits for its recording to be collected: a hub does it in a
# moment unless ranks of the session elsewhere go on recording.
_PATIENCE_S = 20.0
# Where a hub of this machine listens unless told otherwise.
DEFAULT_NATS = "nats://127.0.0.1:4222"


class Attached:
    """This process as a rank. close, or the end of a with block, takes it out again."""

    def __init__(
        self,
        info: p.RankInfo,
        url: str,
        platform: platforms.Platform,
        *,
        all_threads: bool = True,
        spool: Spool | None = None,
    ) -> None:
        """spool, if given, is the temporary one that info names; it ends with the rank."""
        self.info, self._all_threads, self._spool = info, all_threads, spool
        info.ready = all_threads  # else there is a thread to record from the first step on
        self._actions = Actions()  # for the thread that calls step
        self._handler = SessionHandler(
            info,
            Path(info.spool_dir),
            lambda r: self._recorder(r, platform),
            on_recorder=None if all_threads else self._at_step,
        )
        self._rank = RankThread(url, info)
        self._handler.notify, self._handler.quiet = self._rank.notify, self._rank.quiet
        self._closed = threading.Event()

    def _join(self, timeout_s: float) -> None:
        try:
            self._rank.connect()
            self._rank.join(self._handler, timeout_s)
        except BaseException:
            self.close()
            raise

    def step(self) -> None:
        """One iteration of the program has ended: what delay, wait and max_iterations count.

        Without all_threads recordings begin and end here, on the thread that calls it.
        """
        self._actions.thread = threading.get_ident()
        self._actions.come_by()
        self._handler.step()
        if not self.info.ready and self._rank.member is not None:
            self._rank.submit(self._rank.member.set_ready(True))

    def _recorder(self, r: p.ArmRequest, platform: platforms.Platform) -> profiler.TorchProfiler:
        if not self._all_threads and self._actions.thread is None:
            raise RuntimeError(
                "this process records the thread that calls step(), and none has: call it at the end of "
                "each iteration, or use a torch that records all threads"
            )
        return profiler.TorchProfiler(
            r.config, info=self.info, platform=platform, all_threads=self._all_threads, derive=False
        )

    def _at_step(self, f: Callable[[], None]) -> None:
        self._actions.put(f)

    def request(self) -> None:
        """One request has ended, for iteration: request."""
        self._handler.request()

    def close(self) -> None:
        """Leave. A recording is ended; the hub has some time to collect it, else it stays in the spool."""
        if self._closed.is_set():
            return
        self._closed.set()
        with _one_interrupt_more():
            self._actions.thread = threading.get_ident()
            self._actions.come_by()  # what waits for a step that does not come
            self._handler.close(_PATIENCE_S)
            self._rank.close()
            if self._spool is not None and (left := self._spool.leave()):
                log.warning(
                    "recordings that were not collected stay in %s, %d files; bring them home with "
                    "`kinetoscope recover %s`",
                    self._spool.path,
                    len(left),
                    self._spool.path,
                )

    def __enter__(self) -> Attached:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(
    stage: str | int = "",
    rank: int | None = None,
    nats: str = "",
    *,
    pipeline: str = "",
    stage_id: int | None = None,
    stage_type: str = "generation",
    replica: int = 0,
    world_size: int | None = None,
    config: p.ProfilerConfig | None = None,
    spool: str | Path | None = None,
    platform: str = "",
    all_threads: bool = True,
    flight_recorder_mb: int = regions.DEFAULT_PAST_MB,
    timeout_s: float = 60.0,
) -> Attached:
    """Make this process a rank that a hub can start and stop, any number of times.

    stage names it (a number is its id). rank and world_size default to RANK and WORLD_SIZE as
    torchrun sets them; nats to KINETOSCOPE_NATS. Without step() a session is open-ended; with
    it the schedule of profiler_config counts. Without all_threads torch records the thread that
    calls step() alone, from one step to another, and its allocations too, which it does not record
    of all threads; a torch that knows no other way does so in any case. The newest annotated
    regions are always kept, in flight_recorder_mb MiB, for sessions that look back; 0 keeps none.
    Waits timeout_s for a hub.
    """
    number = stage if isinstance(stage, int) else None
    own = None if spool else make_spool()
    info = fill_in(
        p.RankInfo(
            pipeline=pipeline or os.environ.get("KINETOSCOPE_PIPELINE", PIPELINE),
            stage=stage_id if stage_id is not None else number or 0,
            replica=replica,
            rank=rank if rank is not None else int(os.environ.get("RANK", "0")),
            stage_name=str(stage) if stage != "" and number is None else f"stage{number or 0}",
            stage_type=stage_type,
            world_size=world_size if world_size is not None else int(os.environ.get("WORLD_SIZE", "1")),
            profiler_config=config or p.ProfilerConfig(profiler="torch"),
            ready=True,
            spool_dir=str(own.path if own is not None else spool),
        )
    )
    device = platforms.find(platform)
    profiler.warm_up(device)
    regions.keep_past(flight_recorder_mb)
    if all_threads and not profiler.can_record_all_threads():
        log.warning("this torch records one thread alone: sessions begin and end where it calls step()")
        all_threads = False
    url = nats or os.environ.get("KINETOSCOPE_NATS") or _published() or DEFAULT_NATS
    attached = Attached(info, url, device, all_threads=all_threads, spool=own)
    attached._join(timeout_s)
    _at_end(attached.close)
    global _current
    _current = attached
    return attached


def _published() -> str:
    """The URL that a hub of this user has published, with its token; "" if there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        path = Path(cache) / "kinetoscope" / "nats"
        found = path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return ""  # somebody else's idea of where this process should go
        return path.read_text().strip()
    except (OSError, RuntimeError, UnicodeDecodeError):
        return ""


_current: Attached | None = None


def step() -> None:
    """One iteration of the program has ended: Attached.step of the last attach, if there was one.

    So a program can say it whether or not it runs under `python -m kinetoscope run`.
    """
    if _current is not None:
        _current.step()


@contextlib.contextmanager
def _one_interrupt_more() -> Iterator[None]:
    """Ignore the first interrupt that comes inside: Ctrl-C reaches a program from the terminal and
    from who started it, and the second must not end what the first began."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    left = 1

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal left
        if left:
            left -= 1
        elif callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _at_end(f: Callable[[], None]) -> None:
    """Call f when the program has come to its end, while threads can still be given work: atexit is
    too late for executors, which the threading module's own list ends."""
    register = getattr(threading, "_register_atexit", atexit.register)
    register(f)
