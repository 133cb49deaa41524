"""TorchProfiler: one recording of this process with torch.profiler and its files.

It covers every field of profiler_config. Two rules of torch shape it. Preparing Kineto for
the first time takes seconds, so `warm_up` does it once before a rank is ready. A profiler
that is started on one thread records that thread alone, with memory events; with
`all_threads` it records every thread, without them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kinetoscope import artifacts, ascend, aside, merge, platforms, regions
from kinetoscope.exported import GZIP_LEVEL, Exported, Made, create
from kinetoscope.past import Spill, header, write_regions
from kinetoscope.protocol import ProfilerConfig, RankInfo, now_ns

log = logging.getLogger("kinetoscope.profiler")


class TorchProfiler:
    """One recording: prepare, open, close, export, in this order and once each.

    open and close may be called on any thread with all_threads; without, on the thread
    that is recorded. export may run on another thread, and takes no lock but Python's.

    derive makes the operator table, stacks, workbook and memory timeline here (see
    artifacts); without it they are the hub's to make from the trace.
    """

    def __init__(
        self,
        config: ProfilerConfig,
        *,
        info: RankInfo | None = None,
        platform: platforms.Platform | None = None,
        all_threads: bool = False,
        derive: bool = True,
        meta: dict[str, Any] | None = None,
    ) -> None:
        config.validate()
        self.config = config
        self.platform = platform or platforms.find()
        self.info, self.all_threads, self.derive = info, all_threads, derive
        self._meta = dict(meta or {})
        npu = isinstance(self.platform, platforms.Npu)
        self.regions = regions.RegionLog(sample=config.sample_requests, told=not npu)
        self._spill: Spill | None = None
        self._prof: Any = None
        self._dir: Path | None = None
        self._memory = False
        self._et: Path | None = None
        self._trace = config.profiler != "cuda"
        # torch's tracer of Python cannot be paused for the steps of other requests.
        self._stacks = config.torch_profiler_with_stack and config.sample_requests <= 1
        self._window = (0, 0)
        self._pid = os.getpid()  # of the trace: a child may write it

    def prepare(self, directory: Path, spill: Path | None = None) -> None:
        """Make all that can fail before it matters: the directory, the profiler, its observer.

        While it records, its regions go to the file spill, for the case that this process dies.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._dir = directory
        if spill is not None:
            self._spill = Spill(self.regions, spill, self._header())
        if not self._trace:
            return
        c = self.config
        options: dict[str, Any] = {
            "record_shapes": c.torch_profiler_record_shapes,
            "profile_memory": c.torch_profiler_with_memory,
            "with_stack": self._stacks,
            "with_flops": c.torch_profiler_with_flops,
        }
        if isinstance(self.platform, platforms.Npu):
            options["directory"] = directory
        else:
            options["experimental_config"] = _experimental(self.all_threads, self.derive)
            if c.torch_profiler_execution_trace:
                from torch.profiler import ExecutionTraceObserver

                self._et = directory / "execution_trace.json"
                options["execution_trace_observer"] = ExecutionTraceObserver().register_callback(
                    str(self._et)
                )
        self._prof = self.platform.profile(c.torch_profiler_activities, **options)

    def warm(self) -> None:
        """Kineto's warm-up, before open; optional."""
        if self._prof is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._prof.prepare_trace()
            self._warm = True

    _warm = False

    def open(self) -> None:
        """Record from here on."""
        if self._trace:
            self._open_trace()
        else:
            self.platform.range_start()
            self._window = (now_ns(), 0)
        if self._spill is not None:
            self._spill.start()
        regions.activate(self.regions)

    def _open_trace(self) -> None:
        if not self._warm:
            self.warm()
        if self.config.torch_profiler_with_memory:
            self._memory = self.platform.memory_start()
        self._prof.start_trace()
        for key, value in self._header().items():
            if key != "distributedInfo" or not _distributed():  # torch knows more and says it itself
                self._prof.add_metadata_json(key, json.dumps(value))

    def close(self) -> None:
        """End the recording; the data stays in memory until export."""
        regions.activate(None)
        if self._spill is not None:
            self._spill.stop()
        if not self._trace:
            self.platform.range_stop()
            self._window = (self._window[0], now_ns())
            return
        try:
            self._prof.stop_trace()
        finally:
            if self._memory:
                assert self._dir is not None
                self.platform.memory_dump(self._dir / "memory_snapshot.pickle")

    def discard(self) -> None:
        """Give up a recording that was prepared and never opened."""
        if self._et is not None:
            with contextlib.suppress(Exception):
                self._prof.execution_trace_observer.unregister_callback()
        if self._warm:
            # Kineto was told to prepare: only start and stop bring it back.
            with contextlib.suppress(Exception):
                self._prof.start_trace()
                self._prof.stop_trace()
        self._prof = None

    def _header(self) -> dict[str, Any]:
        return self._meta | (header(self.info) if self.info is not None else {})

    def export(self, final: Callable[[str], Path] | None = None) -> Exported:
        """Write all files into the directory; final renames one when it is complete.

        The trace is what counts: without it export raises. What else fails is in the notes.
        """
        out = Exported(dropped=self.regions.dropped)
        if self._dir is None or (self._trace and self._prof is None):
            raise RuntimeError("export of a profile that was never recorded")
        place = final or (lambda name: self._dir / name)  # type: ignore[operator]
        if not self._trace:
            self._export_regions(out, place)
            return out
        if isinstance(self.platform, platforms.Npu):
            return self._export_npu(out, place)
        self._export_trace(out, place)
        self._more(out, place)
        return out

    def _trace_name(self) -> str:
        return "trace.json.gz" if self.config.torch_profiler_use_gzip else "trace.json"

    def _export_regions(self, out: Exported, place: Callable[[str], Path]) -> None:
        """The trace of a recording that another profiler made: its regions, to be laid beside it."""
        assert self._dir is not None
        name = self._trace_name()
        part = self._dir / (name + ".part")
        with create(part) as dst:
            out.slices = write_regions(dst, self._header(), self.regions.regions, self._window, name)
        self._place(out, part, name, "trace", place)

    def release(self) -> None:
        """Give the recording's memory back.

        torch takes as long for it as for writing the trace, and holds Python's lock; so it
        is for when nobody waits for this process.
        """
        self._prof = None

    def _export_trace(self, out: Exported, place: Callable[[str], Path]) -> None:
        assert self._dir is not None
        name = self._trace_name()
        part = self._dir / (name + ".part")

        def write() -> dict[str, Any]:
            return self._write_trace(part)

        result = aside.run(write, self._dir) or write()
        out.slices = result["slices"]
        if result["note"]:
            out.notes.append(result["note"])
        if self.config.torch_profiler_with_stack and not self._stacks:
            out.notes.append(
                "no stacks: torch cannot pause them for requests that sample_requests leaves out"
            )
        if self.regions.dropped:
            out.notes.append(f"{self.regions.dropped} regions over {self.regions.limit} were dropped")
        self._place(out, part, name, "trace", place)

    def _write_trace(self, part: Path) -> dict[str, Any]:
        """torch's trace with what the regions know, complete and packed."""
        raw = part.with_name("raw.json")
        try:
            self._prof.export_chrome_trace(str(raw))
            with raw.open("rb") as src, create(part) as dst:
                result, pieces = merge.merge(src, self.regions, self._pid)
                for piece in pieces:
                    dst.write(piece)
        finally:
            raw.unlink(missing_ok=True)
        return {"slices": result.slices + result.added, "note": result.note}

    def _place(self, out: Exported, made: Path, name: str, kind: str, place: Callable[[str], Path]) -> None:
        """Give a complete file its name."""
        path = place(name)
        if path != made:
            os.replace(made, path)
        out.files.append(Made(name, kind, path))

    def _more(self, out: Exported, place: Callable[[str], Path]) -> None:
        assert self._dir is not None
        c, d = self.config, self._dir

        def attempt(name: str, kind: str, write: Callable[[Path], object]) -> None:
            part = d / (name + ".part")
            try:
                if write(part) is False or not part.exists():
                    part.unlink(missing_ok=True)
                    return
                self._place(out, part, name, kind, place)
            except Exception as e:
                part.unlink(missing_ok=True)
                out.notes.append(f"{name}: {type(e).__name__}: {e}")

        if self._memory:
            attempt("memory_snapshot.pickle", "memory", lambda to: _move(d / "memory_snapshot.pickle", to))
        if c.torch_profiler_with_memory and self.derive:  # it takes minutes where the trace takes a second
            if c.torch_profiler_record_shapes and c.torch_profiler_with_stack and not self.all_threads:
                attempt("memory_timeline.json.gz", "memory", self._memory_timeline)
            else:
                out.notes.append("memory timeline: torch makes it only with shapes and stacks of one thread")
        if self._et is not None:
            et = self._et
            attempt("execution_trace.json", "execution_trace", lambda to: _move(et, to))
        if self.derive:
            self._derive(attempt)

    def _memory_timeline(self, to: Path) -> None:
        device = "cpu" if self.platform.device == "cpu" else f"{self.platform.device}:0"
        plain = to.with_suffix(".plain.json")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated in favour of the snapshot, which the CPU has not
            self._prof.export_memory_timeline(str(plain), device)
        with plain.open("rb") as src, gzip.open(to, "wb", GZIP_LEVEL) as dst:
            shutil.copyfileobj(src, dst)
        plain.unlink()

    def _derive(self, attempt: Callable[[str, str, Callable[[Path], object]], None]) -> None:
        c, prof, metric = self.config, self._prof, self.platform.metric
        if c.torch_profiler_dump_cuda_time_total:
            attempt("profiler_out.txt", "table", lambda to: artifacts.write_table(prof, to, metric))
        if c.torch_profiler_with_stack:
            attempt(
                "stacks_cpu.txt",
                "stacks",
                lambda to: artifacts.write_stacks(prof, to, "self_cpu_time_total") > 0,
            )
            if self.platform.device != "cpu":
                attempt(
                    f"stacks_{self.platform.device}.txt",
                    "stacks",
                    lambda to: artifacts.write_stacks(prof, to, "self_device_time_total") > 0,
                )
        attempt(
            "ops.xlsx",
            "ops",
            lambda to: artifacts.write_workbook(
                prof, to, shapes=c.torch_profiler_record_shapes, stacks=c.torch_profiler_with_stack
            ),
        )

    def _export_npu(self, out: Exported, place: Callable[[str], Path]) -> Exported:
        assert self._dir is not None
        ascend.analyse(self._dir)
        made = ascend.output(self._dir)
        name = self._trace_name()
        part = self._dir / (name + ".part")
        with (made / ascend.VIEW).open("rb") as src, create(part) as dst:
            out.slices = ascend.wrap(src, dst, self._header(), self.regions.regions, self._pid)
        self._place(out, part, name, "trace", place)
        for table in ascend.tables(made):
            self._place(out, table, "ascend_" + table.name, "ascend", place)
        if self._memory:
            snapshot = self._dir / "memory_snapshot.pickle"
            self._place(out, snapshot, snapshot.name, "memory", place)
        return out


def _move(path: Path, to: Path) -> None:
    os.replace(path, to)


def _distributed() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def can_record_all_threads() -> bool:
    """Whether this torch records threads other than the one that starts the profiler."""
    from torch._C._profiler import _ExperimentalConfig

    try:
        _ExperimentalConfig(profile_all_threads=True)
    except TypeError:
        return False
    return True


def _experimental(all_threads: bool, stacks: bool) -> Any:
    """torch's experimental options, as far as this torch has them."""
    from torch._C._profiler import _ExperimentalConfig

    # verbose gives events their stacks, for the files that derive makes.
    if not all_threads:
        return _ExperimentalConfig(verbose=stacks)
    return _ExperimentalConfig(profile_all_threads=True, verbose=stacks)


_warmed = threading.Lock()
_is_warm = False


def warm_up(platform: platforms.Platform | None = None) -> None:
    """Start and stop a profiler once: the first time loads libraries for seconds."""
    global _is_warm
    with _warmed:
        if _is_warm:
            return
        prof = (platform or platforms.find()).profile() if not isinstance(platform, platforms.Npu) else None
        if prof is not None:
            prof.prepare_trace()
            prof.start_trace()
            prof.stop_trace()
        _is_warm = True
