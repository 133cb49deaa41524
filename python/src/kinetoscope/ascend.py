"""What torch_npu leaves, made into what a rank hands over.

torch_npu writes raw data while it records and makes a trace of it by `analyse`, which starts
processes: a daemon worker, as servers start them, may not. So `python -m kinetoscope.ascend
DIRECTORY` does it, a program of its own. Written against torch_npu's interface and tested
against a fake of it; untested on hardware.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from kinetoscope import events
from kinetoscope.regions import Logged

OUTPUT = "ASCEND_PROFILER_OUTPUT"
VIEW = "trace_view.json"
# Tables of one recording larger than this stay behind: the trace has what they are made from.
MAX_TABLE_BYTES = 64 << 20

_PIECE = 4 << 20
# The view's closing bracket and white space are in its last bytes.
_TAIL = 64


def analyse(directory: Path) -> None:
    """Make the raw recordings under directory readable; RuntimeError with what torch_npu printed."""
    done = subprocess.run(
        [sys.executable, "-m", "kinetoscope.ascend", str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    if done.returncode != 0:
        last = " ".join(done.stdout.split()[-40:])
        raise RuntimeError(f"torch_npu analyse of {directory} ended with {done.returncode}: {last}")


def output(directory: Path) -> Path:
    """The newest analysed output under directory; RuntimeError without one."""
    views = sorted(directory.glob(f"*_ascend_pt/{OUTPUT}/{VIEW}"))
    if not views:
        raise RuntimeError(f"torch_npu left no {VIEW} under {directory}")
    return views[-1].parent


def tables(out: Path) -> list[Path]:
    """The files beside the view that are worth handing over: its tables and what ranks exchanged."""
    return [
        f
        for f in sorted(out.iterdir())
        if f.suffix in (".csv", ".json") and f.name != VIEW and f.stat().st_size <= MAX_TABLE_BYTES
    ]


def wrap(view: BinaryIO, to: BinaryIO, header: dict[str, Any], ended: Iterable[Logged], pid: int) -> int:
    """Write the view's events and the regions as one trace with a header; return the regions written.

    Times in the view are texts, microseconds since the epoch: no double holds them exactly.
    """
    to.write(json.dumps({"schemaVersion": 1} | header)[:-1].encode() + b', "traceEvents": [')
    empty = not _events(view, to)
    n = 0
    for r in ended:
        at = f'"{events.microseconds(r.start)}"'
        for e in (events.event(r, pid, at), *events.flows(r, pid, at)):
            to.write((b"\n" if empty else b",\n") + e.encode())
            empty = False
        n += not r.instant
    to.write(b"\n]}\n")
    return n


def _events(view: BinaryIO, to: BinaryIO) -> bool:
    """Copy what is between the view's brackets; whether there was anything."""
    rest = view.read(_PIECE).lstrip()
    if not rest.startswith(b"["):
        raise ValueError(f"{VIEW} is no array of events: it begins with {rest[:20]!r}")
    rest, some = rest[1:], False
    while piece := view.read(_PIECE):
        text = rest + piece
        to.write(text[:-_TAIL])
        rest, some = text[-_TAIL:], True
    rest = rest.rstrip()
    if not rest.endswith(b"]"):
        raise ValueError(f"{VIEW} is cut: it ends with {rest[-20:]!r}")
    to.write(rest[:-1])
    return some or bool(rest[:-1].strip())


def main(argv: list[str]) -> int:
    """Analyse the directory that the command line names."""
    importlib.import_module("torch_npu.profiler.profiler").analyse(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
