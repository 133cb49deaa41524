"""Run a function in a forked copy of this process, beside its work.

torch writes a trace in C++ while it holds Python's lock: a third of a second for a hundred
megabytes, in which the process serves nothing and says nothing to the hub. A forked child
has the same data in memory and a lock of its own. It touches no device and leaves by _exit.
KINETOSCOPE_EXPORT=inline switches it off.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("kinetoscope.aside")

# A child that writes nothing for so long hangs on a lock that some thread held at the fork.
STALLED_S = 30.0
_POLL_S = 0.01
# A result must fit a pipe's buffer: nobody reads before the child has ended.
_RESULT_BYTES = 4096


def run(write: Callable[[], dict[str, Any]], directory: Path) -> dict[str, Any] | None:
    """Have a child call write, which works on files of directory, and return its result.

    The result is JSON of less than 4 KiB. None says that there was no child or that it
    failed: then do it here, for the data in this process is unharmed.
    """
    if not hasattr(os, "fork") or os.environ.get("KINETOSCOPE_EXPORT") == "inline":
        return None
    reader, writer = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking with threads: the child starts none
            pid = os.fork()
    except OSError as e:
        os.close(reader)
        os.close(writer)
        log.warning("cannot fork, exporting in the process itself: %s", e)
        return None
    if pid == 0:
        status = 1
        try:
            os.write(writer, json.dumps(write()).encode()[:_RESULT_BYTES])
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    try:
        status = _wait(pid, directory)
        text = os.read(reader, _RESULT_BYTES)
    finally:
        os.close(reader)
    if status != 0:
        log.warning("the exporting child ended with %d, exporting in the process itself", status)
        return None
    result: dict[str, Any] = json.loads(text)
    return result


def _size(directory: Path) -> int:
    n = 0
    for f in os.scandir(directory):
        try:
            n += f.stat().st_size
        except FileNotFoundError:
            continue
    return n


def _wait(pid: int, directory: Path) -> int:
    size, moved = -1, time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = _size(directory)
        if now != size:
            size, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALLED_S:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -int(signal.SIGKILL)
        time.sleep(_POLL_S)
