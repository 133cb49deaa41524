from __future__ import annotations

from typing import Any

from kinetoscope.platforms import Platform
from kinetoscope.worker.durations import BOUNDS, Durations


def test_histograms_are_cumulative_as_go_reads_them() -> None:
    d = Durations(Platform())
    for ns in (50_000, 100_000, 2_000_000, 70_000_000_000):
        d.observe("decode_step", ns)
    d.observe("coffee break", 5)
    got = d.read()
    assert set(got) == {"decode_step"}
    h = got["decode_step"]
    assert dict(zip(BOUNDS, h["buckets"], strict=True))[0.0001] == 2
    assert dict(zip(BOUNDS, h["buckets"], strict=True))[0.0025] == 3
    assert (h["buckets"][-1], h["count"], h["sum_seconds"]) == (3, 4, 70.00215)


class Event:
    def __init__(self, at_ms: float) -> None:
        self.at = at_ms

    def elapsed_time(self, end: Event) -> float:
        return end.at - self.at


class Card(Platform):
    """A device whose work is measured by marks in its queue."""

    def __init__(self) -> None:
        self.now = 0.0

    def event(self) -> Any:
        self.now += 1.5
        return Event(self.now)


def test_a_card_is_measured_by_its_own_clock() -> None:
    d = Durations(Card())
    assert d.elapsed(d.mark(), d.mark()) == 1_500_000
    d = Durations(Platform())
    assert 0 <= d.elapsed(d.mark(), d.mark()) < 1_000_000_000
