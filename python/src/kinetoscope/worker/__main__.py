"""The process of one rank: kinetoscope-torch-worker."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from nats.js.errors import NotFoundError

from kinetoscope import platforms, profiler, regions, wire
from kinetoscope import protocol as p
from kinetoscope.capture import SessionHandler
from kinetoscope.place import TakenError
from kinetoscope.rank import RankThread, fill_in
from kinetoscope.worker import group as groups
from kinetoscope.worker.loop import Loop, Runner
from kinetoscope.worker.options import Deployment, Options, Stage, deployment, options

log = logging.getLogger("kinetoscope.worker")

# How long a rank waits for its deployment: it may be started before the hub has published it.
_CONNECT_S = 10.0
# How long the loop may take to come to a step's end before the process goes without it.
_GRACE_S = 3.0
# What NATS holds for a stage that is behind; the inbox is the bound that requests meet.
_PENDING_MESSAGES, _PENDING_BYTES = 1 << 20, 1 << 30


def main(argv: list[str] | None = None) -> int:
    """Run a rank until its supervisor goes or SIGTERM comes."""
    o = options(argv)
    level = logging.DEBUG if os.environ.get("KINETOSCOPE_LOG") == "debug" else logging.INFO
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    _watch(o, stop)
    try:
        run(o, stop)
    except Exception as e:
        if stop.is_set():
            log.debug("ended", exc_info=e)
            return 0
        log.debug("rank failed", exc_info=e)
        print(f"error: {' '.join(str(e).split()) or type(e).__name__}", file=sys.stderr, flush=True)
        return 1
    return 0


def _watch(o: Options, stop: threading.Event) -> None:
    """Set stop when SIGTERM comes or the supervisor's end of standard input closes.

    Both are waited for in threads, for the main one may be deep inside a collective; if it
    does not come out the process ends without it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.SIG_IGN if o.supervised else signal.default_int_handler)

    def gone() -> None:
        stop.set()
        time.sleep(_GRACE_S)
        log.warning("ends in the middle of its work")
        os._exit(0)

    def term() -> None:
        signal.sigwait({signal.SIGTERM})
        gone()

    def parent() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        gone()

    threading.Thread(target=term, daemon=True, name="sigterm").start()
    if o.supervised:
        threading.Thread(target=parent, daemon=True, name="parent").start()


def run(o: Options, stop: threading.Event) -> None:
    """The life of a rank."""
    platform = platforms.find(os.environ.get("KINETOSCOPE_PLATFORM", ""))
    with contextlib.ExitStack() as cleanup:
        spool = o.spool or cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kinetoscope-rank-"))
        info = fill_in(p.RankInfo(o.pipeline, o.stage, o.replica, o.rank, spool_dir=spool))
        lost: list[str] = []

        def closed() -> None:
            lost.append("the connection to the hub is closed")
            stop.set()

        def replaced(e: TakenError) -> None:
            lost.append(f"its place was taken while it did not answer: {e}")
            stop.set()

        rank = RankThread(
            o.nats,
            info,
            on_closed=closed,
            on_replaced=replaced,
            token=o.token,
            ca=o.ca,
            cert=o.cert,
            creds=o.creds,
            key=o.key,
        )
        cleanup.callback(rank.close)
        rank.connect()
        rank.await_place(stop.is_set, wait=o.supervised)
        dep = _deployment(rank, o)
        stage = next((s for s in dep.stages if s.stage_id == o.stage), None)
        if stage is None:
            raise ValueError(f"pipeline {o.pipeline} has no stage {o.stage}; it has {len(dep.stages)} stages")
        if not 0 <= o.rank < stage.tensor_parallel_size:
            raise ValueError(f"stage {o.stage} has ranks 0 to {stage.tensor_parallel_size - 1}, not {o.rank}")
        info.stage_name, info.stage_type = stage.stage_name, stage.stage_type
        info.world_size = stage.tensor_parallel_size
        if stage.profiler_config.profiler:
            info.profiler_config = stage.profiler_config
        device = _device(platform, stage, o.rank)
        card = platform.identity(device.index or 0)
        group = groups.join(o, stage.tensor_parallel_size, platform, card, rank, stop.is_set)
        cleanup.callback(group.close)
        loop = Loop(o, dep, stage, group, device, stop, platform)
        loop.rank = rank
        loop.runner = _runner(loop)
        profiler.warm_up(platform)
        regions.keep_past(stage.past_mb)
        loop.handler = SessionHandler(
            info,
            Path(spool),
            lambda r: profiler.TorchProfiler(r.config, info=info, platform=platform, derive=False),
            on_recorder=loop.on_loop,
            notify=rank.notify,
            calls=loop.calls,
            quiet=rank.quiet,
        )
        cleanup.callback(loop.handler.close)
        if o.rank == 0:
            _listen(rank, loop)
        info.ready = True
        _join(rank, loop.handler, o, stop)
        log.info("rank ready: stage %s rank %d pid %d on %s", stage.stage_name, o.rank, os.getpid(), device)
        loop.run()
        if lost:
            raise ConnectionError(lost[0])


def _join(rank: RankThread, handler: SessionHandler, o: Options, stop: threading.Event) -> None:
    """Announce the rank. Who had its place may be back from a freeze: a supervised rank waits for its end."""
    while True:
        try:
            return rank.join(handler)
        except TakenError:
            if not o.supervised or stop.is_set():
                raise
        rank.await_place(stop.is_set, wait=True)


def _deployment(rank: RankThread, o: Options) -> Deployment:
    async def get() -> bytes:
        assert rank.nc is not None
        kv = await rank.nc.jetstream().key_value(p.BUCKET_DEPLOY)
        return (await kv.get(o.pipeline)).value or b""

    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            return deployment(rank.wait(get(), _CONNECT_S))
        except NotFoundError as e:
            if time.monotonic() > deadline:
                raise TimeoutError(f"pipeline {o.pipeline} is not deployed on this hub: {e}") from e
            time.sleep(0.1)


def _device(platform: platforms.Platform, stage: Stage, rank: int) -> torch.device:
    if platform.device == "cpu":
        # The ranks of a host share its cores; OMP_NUM_THREADS in the stage's env overrides.
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // max(1, stage.tensor_parallel_size)))
        return torch.device("cpu")
    cards = [int(d) for d in stage.devices.split(",") if d.strip().isdigit()] or list(range(platform.count()))
    card = cards[rank % len(cards)]
    platform.set_device(card)
    return torch.device(platform.device, card)


def _runner(loop: Loop) -> Runner:
    kind = loop.stage.stage_type
    if kind == "llm":
        from kinetoscope.worker.llm import LLM

        return LLM(loop)
    if kind == "diffusion":
        from kinetoscope.worker.diffusion import Diffusion

        return Diffusion(loop)
    from kinetoscope.worker.generation import Generation

    return Generation(loop)


def _listen(rank: RankThread, loop: Loop) -> None:
    o = loop.o

    async def subscribe() -> None:
        assert rank.nc is not None
        await rank.nc.subscribe(
            wire.from_all(wire.subject(o.pipeline, o.stage, o.replica)),
            cb=loop.receive,
            pending_msgs_limit=_PENDING_MESSAGES,
            pending_bytes_limit=_PENDING_BYTES,
        )

    rank.wait(subscribe(), 10)


if __name__ == "__main__":
    sys.exit(main())
