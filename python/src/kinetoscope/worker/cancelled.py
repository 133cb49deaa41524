"""Requests that were cancelled before the stage heard of them."""

from __future__ import annotations

from kinetoscope import wire

# A hand-off that was on the way is late by milliseconds, so the last ones are enough.
MAX_CANCELLED = 1024


class Cancellations:
    """The requests that were cancelled lately.

    A request reaches a later stage with the first hand-off of the one before, and its cancellation comes
    from the hub, so it can come first. Begun all the same, the request would wait for ever for what the
    stage before no longer makes.
    """

    def __init__(self) -> None:
        self._arrival: dict[str, int] = {}  # by id: an id may come again, with a later arrival

    def add(self, m: wire.Message) -> None:
        """Note what a cancel message cancels."""
        if m.request is None:
            return
        self._arrival.pop(m.id, None)
        self._arrival[m.id] = int(m.request.get("arrival", 0))
        if len(self._arrival) > MAX_CANCELLED:
            del self._arrival[next(iter(self._arrival))]

    def has(self, m: wire.Message) -> bool:
        """Whether a message brings a request that was cancelled."""
        at = self._arrival.get(m.id)
        return at is not None and m.request is not None and int(m.request.get("arrival", 0)) <= at
