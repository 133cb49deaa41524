"""Cancellations that are faster than the hand-off which brings the request."""

from __future__ import annotations

from kinetoscope import wire
from kinetoscope.worker.cancelled import MAX_CANCELLED, Cancellations


def message(kind: str, request_id: str, arrival: int | None) -> wire.Message:
    head = {"kind": kind, "id": request_id}
    if arrival is None:
        return wire.Message(head)
    return wire.Message({**head, "request": {"id": request_id, "arrival": arrival}})


def test_a_request_that_comes_after_its_cancellation() -> None:
    c = Cancellations()
    assert not c.has(message(wire.HANDOFF, "a", 1))
    c.add(message(wire.CANCEL, "x", None))  # of an older hub, which says no request
    c.add(message(wire.CANCEL, "a", 5))
    assert c.has(message(wire.HANDOFF, "a", 5))
    assert not c.has(message(wire.HANDOFF, "a", 6))  # the id is asked for again
    assert not c.has(message(wire.HANDOFF, "b", 5))
    assert not c.has(message(wire.HANDOFF, "x", 5))
    assert not c.has(message(wire.HANDOFF, "a", None))


def test_the_last_ones_are_kept() -> None:
    c = Cancellations()
    for i in range(MAX_CANCELLED + 1):
        c.add(message(wire.CANCEL, str(i), 1))
    assert not c.has(message(wire.HANDOFF, "0", 1))
    assert c.has(message(wire.HANDOFF, "1", 1))
