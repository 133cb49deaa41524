"""Devices behind one small interface: what profiling needs that differs between them.

Tested on hardware: cpu. The others (cuda, rocm, npu, xpu, musa) are written against their
modules' interfaces and tested against fakes of them; see docs/torch.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

# torch.*.memory._record_memory_history keeps this many entries, as vLLM-Omni asks for.
MEMORY_ENTRIES = 100_000


class Platform:
    """One kind of device. The base class is the CPU."""

    name = "cpu"
    device = "cpu"  # as torch.device takes it
    backend = "gloo"  # of torch.distributed
    metric = "self_cpu_time_total"  # what the operator table is sorted by

    def available(self) -> bool:
        """Whether this process can use such a device."""
        return True

    def module(self) -> ModuleType | Any | None:
        """torch.<device>, with synchronize and memory; None on the CPU."""
        return None

    def set_device(self, index: int) -> None:
        """Make a card the process's own."""
        if (m := self.module()) is not None:
            m.set_device(index)

    def identity(self, index: int) -> str:
        """What tells a card of this host from its others, whatever a process can see of them;
        "" on the CPU, which ranks may share."""
        return ""

    def count(self) -> int:
        """How many cards the process can see."""
        m = self.module()
        return int(m.device_count()) if m is not None else 0

    def synchronize(self) -> None:
        """Wait for the device."""
        if (m := self.module()) is not None:
            m.synchronize()

    def event(self) -> Any:
        """A mark in the device's queue, with query and elapsed_time as torch.cuda.Event has
        them; None on the CPU, where this moment is the mark."""
        return None

    def activities(self) -> list[Any]:
        """What the profiler records."""
        from torch.profiler import ProfilerActivity

        return [ProfilerActivity.CPU]

    def chosen(self, names: Iterable[str]) -> list[Any]:
        """The activities that torch_profiler_activities names, all for no names. A device answers
        to every name but CPU; ValueError if nothing is left."""
        upper = {n.upper() for n in names}
        host, *device = self.activities()
        out = [host] * (not upper or "CPU" in upper) + device * (not upper or bool(upper - {"CPU"}))
        if not out:
            raise ValueError(
                f"torch_profiler_activities {sorted(upper)} leaves nothing to record on {self.name}"
            )
        return out

    def profile(self, names: Iterable[str] = (), **options: Any) -> Any:
        """A profiler with prepare_trace, start_trace, stop_trace and export_chrome_trace."""
        from torch.profiler.profiler import _KinetoProfile

        return _KinetoProfile(activities=self.chosen(names), **options)

    def memory_start(self) -> bool:
        """Begin a memory history; False if the platform keeps none."""
        return False

    def memory_dump(self, path: Path) -> None:
        """Write the history as a snapshot and end it."""

    def range_start(self) -> None:
        """Begin the range that an outer profiler (nsys) records."""
        raise NotImplementedError(f"profiler: cuda needs a CUDA device, this process runs on {self.name}")

    def range_stop(self) -> None:
        """End it."""


class _Card(Platform):
    """What platforms with cards have in common."""

    module_name = ""  # torch's attribute
    extension = ""  # package that registers it
    activity = ""  # member of ProfilerActivity
    visible = ""  # variable that restricts the cards a process sees

    def module(self) -> Any | None:
        import torch

        if self.extension and not hasattr(torch, self.module_name):
            if importlib.util.find_spec(self.extension) is None:
                return None
            importlib.import_module(self.extension)
        return getattr(torch, self.module_name, None)

    def available(self) -> bool:
        m = self.module()
        return m is not None and bool(m.is_available())

    def identity(self, index: int) -> str:
        m = self.module()
        ask = getattr(m, "get_device_properties", None)
        properties = ask(index) if ask is not None else None
        unique = getattr(properties, "uuid", None)
        visible = os.environ.get(self.visible, "") if self.visible else ""
        return f"{self.name} {unique}" if unique else f"{self.name} {index} of {visible or 'all'}"

    def event(self) -> Any:
        m = self.module()
        assert m is not None
        event = m.Event(enable_timing=True)
        event.record()
        return event

    def activities(self) -> list[Any]:
        from torch.profiler import ProfilerActivity

        extra = getattr(ProfilerActivity, self.activity, None)
        return super().activities() + ([extra] if extra is not None else [])

    def _memory(self) -> Any | None:
        memory = getattr(self.module(), "memory", None)
        return memory if hasattr(memory, "_record_memory_history") else None

    def memory_start(self) -> bool:
        memory = self._memory()
        if memory is None:
            return False
        memory._record_memory_history(max_entries=MEMORY_ENTRIES, stacks="python")
        return True

    def memory_dump(self, path: Path) -> None:
        memory = self._memory()
        if memory is not None:
            try:
                memory._dump_snapshot(str(path))
            finally:
                memory._record_memory_history(enabled=None)


class Cuda(_Card):
    """NVIDIA."""

    name = device = module_name = "cuda"
    activity = "CUDA"
    visible = "CUDA_VISIBLE_DEVICES"
    backend = "nccl"
    metric = "self_cuda_time_total"

    def available(self) -> bool:
        import torch

        return bool(torch.cuda.is_available()) and torch.version.hip is None

    def _cudart(self) -> Any:
        m = self.module()
        assert m is not None
        return m.cudart()

    def range_start(self) -> None:
        self._cudart().cudaProfilerStart()

    def range_stop(self) -> None:
        self._cudart().cudaProfilerStop()


class Rocm(Cuda):
    """AMD: torch calls it cuda."""

    name = "rocm"

    def available(self) -> bool:
        import torch

        return bool(torch.cuda.is_available()) and torch.version.hip is not None


class Xpu(_Card):
    """Intel."""

    name = device = module_name = "xpu"
    visible = "ZE_AFFINITY_MASK"
    activity = "XPU"
    backend = "xccl"
    metric = "self_xpu_time_total"


class Musa(_Card):
    """Moore Threads."""

    name = device = module_name = "musa"
    visible = "MUSA_VISIBLE_DEVICES"
    extension = "torch_musa"
    activity = "PrivateUse1"
    backend = "mccl"
    metric = "self_musa_time_total"


class Npu(_Card):
    """Ascend: torch_npu has profiler classes of its own, which write raw data to a directory.

    Regions are not told to it: they reach the trace with their arguments when it is handed over.
    """

    name = device = module_name = "npu"
    extension = "torch_npu"
    visible = "ASCEND_RT_VISIBLE_DEVICES"
    backend = "hccl"
    metric = "self_npu_time_total"

    def _profiler(self) -> Any:
        return importlib.import_module("torch_npu.profiler")

    def activities(self) -> list[Any]:
        np = self._profiler()
        return [np.ProfilerActivity.CPU, np.ProfilerActivity.NPU]

    def profile(self, names: Iterable[str] = (), **options: Any) -> Any:
        np = self._profiler()
        directory = options.pop("directory")
        experimental = np._ExperimentalConfig(
            profiler_level=np.ProfilerLevel.Level1, aic_metrics=np.AiCMetrics.PipeUtilization
        )
        # with_stack is slow to parse there; with_modules names the modules instead.
        return _NpuProfile(
            np.profile(
                activities=self.chosen(names),
                record_shapes=options["record_shapes"],
                profile_memory=options["profile_memory"],
                with_stack=False,
                with_modules=options["with_stack"],
                with_flops=options["with_flops"],
                experimental_config=experimental,
                on_trace_ready=np.tensorboard_trace_handler(str(directory), analyse_flag=False),
            )
        )


class _NpuProfile:
    """torch_npu's profiler with the names that torch's has."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def prepare_trace(self) -> None:
        """Nothing to prepare: it begins with start."""

    def start_trace(self) -> None:
        """Begin."""
        self.inner.start()

    def stop_trace(self) -> None:
        """End; the raw data is on disk after."""
        self.inner.stop()

    def add_metadata_json(self, key: str, value: str) -> None:
        """Keep a key for the trace's header."""
        self.inner.add_metadata_json(key, value)


ALL: tuple[Callable[[], Platform], ...] = (Npu, Musa, Xpu, Rocm, Cuda, Platform)


def find(name: str = "", among: Iterable[Callable[[], Platform]] = ALL) -> Platform:
    """The platform of that name, or the first that is available; the CPU always is."""
    known: list[str] = []
    for make in among:
        platform = make()
        known.append(platform.name)
        if platform.name == name or (not name and platform.available()):
            if not platform.available():
                raise RuntimeError(f"platform {name} is not available in this process")
            return platform
    raise ValueError(f"platform {name!r}: one of {', '.join(known)}")
