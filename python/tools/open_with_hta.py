"""Open traces of one stage's ranks with Holistic Trace Analysis; exit status 3 without it."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path


def main(paths: list[str]) -> int:
    try:
        from hta.trace_analysis import TraceAnalysis
    except ImportError as e:
        print(e)
        return 3
    with tempfile.TemporaryDirectory() as d:
        files: dict[int, str] = {}
        for i, p in enumerate(paths):
            to = Path(d) / f"rank{i}.json.gz"
            shutil.copy(p, to)
            with gzip.open(to) as f:
                rank = int(json.load(f)["distributedInfo"]["rank"])
            files[rank] = str(to)
        if len(files) != len(paths):
            raise SystemExit(f"{len(paths)} traces are of {len(files)} ranks")
        analysis = TraceAnalysis(trace_files=files, trace_dir=d)
        for rank in files:
            frame = analysis.t.get_trace(rank)
            if len(frame) == 0:
                raise SystemExit(f"rank {rank}: HTA sees no events")
            names = analysis.t.symbol_table.get_sym_table()
            steps = [n for n in names if n.startswith("ProfilerStep#")]
            if not steps:
                raise SystemExit(f"rank {rank}: HTA sees no ProfilerStep")
            print(f"rank {rank}: {len(frame)} events, {len(steps)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
