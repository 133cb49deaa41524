"""Ranks of a Kinetoscope session that run PyTorch.

    import kinetoscope
    kinetoscope.attach(stage="decoder", nats="nats://127.0.0.1:4222")

makes this process a rank of pipeline "attached"; `kinetoscope.annotate` names what it does and
`kinetoscope.step` says where an iteration of it ends. `kinetoscope.read` reads traces as Arrow tables.
"""

from __future__ import annotations

from kinetoscope.attached import Attached, attach, step
from kinetoscope.profiler import TorchProfiler
from kinetoscope.protocol import ProfilerConfig
from kinetoscope.reading import ReadError, read
from kinetoscope.regions import annotate

__version__ = "0.1.0"
__all__ = ["Attached", "ProfilerConfig", "ReadError", "TorchProfiler", "annotate", "attach", "read", "step"]
