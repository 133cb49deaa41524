"""Functions that one thread runs when it comes by."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Actions:
    """What other threads want done on the one that records. thread is its id, once it is known."""

    def __init__(self, thread: int | None = None) -> None:
        self.thread = thread
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, f: Callable[[], None]) -> bool:
        """Run f at once if this is the thread, and return True; else leave it for come_by."""
        if threading.get_ident() == self.thread:
            f()
            return True
        self._queue.put(f)
        return False

    def come_by(self) -> None:
        """Run what was left, on the thread."""
        while True:
            try:
                f = self._queue.get_nowait()
            except queue.Empty:
                return
            f()
