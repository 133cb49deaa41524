"""`python -m kinetoscope run [options] script.py [arguments]`: run a program as a rank."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from kinetoscope.attached import attach


def main(argv: list[str] | None = None) -> int:
    """Attach this process, then run the script as __main__."""
    parser = argparse.ArgumentParser(prog="python -m kinetoscope", description=__doc__)
    run = parser.add_subparsers(required=True).add_parser("run", help="run a script as a rank")
    run.add_argument("--nats", default="", help="URL of the hub's NATS (KINETOSCOPE_NATS)")
    run.add_argument("--pipeline", default="", help="pipeline that the rank belongs to (attached)")
    run.add_argument("--stage", default="", help="name of the stage; the script's by default")
    run.add_argument("--stage-id", type=int, default=0)
    run.add_argument("--rank", type=int, default=None, help="rank in the stage (RANK)")
    run.add_argument("--spool", default=None, help="directory for recordings on their way")
    run.add_argument("-m", dest="module", action="store_true", help="script is a module's name")
    run.add_argument("script")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    a = parser.parse_args(argv)
    stage = a.stage or (a.script.rpartition(".")[2] if a.module else Path(a.script).stem)
    with attach(stage, a.rank, a.nats, pipeline=a.pipeline, stage_id=a.stage_id, spool=a.spool):
        sys.argv = [a.script, *a.arguments]
        if a.module:
            runpy.run_module(a.script, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(a.script).resolve().parent))
            runpy.run_path(a.script, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
