from __future__ import annotations

import itertools

import pytest

from kinetoscope.protocol import BY_ITERATIONS, BY_SCHEDULE, ProfilerConfig
from kinetoscope.schedule import OPEN, SHUT, Schedule


def config(**fields: int) -> ProfilerConfig:
    return ProfilerConfig.from_dict({f"{k}_iterations": v for k, v in fields.items()})


def windows(c: ProfilerConfig, n: int) -> str:
    """Draws n iterations: '.' before, 'R' recorded, '|' the end of the window. As the Go test does."""
    s = Schedule(c)
    recording, out = s.start() == OPEN, ""
    for _ in range(n):
        out += "R" if recording else "."
        move = s.iteration_end()
        if move == SHUT:
            return out + "|"
        recording = recording or move == OPEN
    return out


@pytest.mark.parametrize(
    ("c", "want"),
    [
        (config(active=2), "RRRRRR"),  # active alone means nothing
        (config(max=3), "RRR|"),
        (config(delay=2), "..RRRR"),
        (config(delay=2, max=1), "..R|"),
        (config(wait=1, warmup=1, active=2), "..RR|"),
        (config(warmup=1, active=4, max=2), ".RR|"),
        (config(delay=1, wait=2, active=1, max=9), "...R|"),
    ],
)
def test_windows_are_those_of_native_ranks(c: ProfilerConfig, want: str) -> None:
    assert windows(c, 6) == want


def test_never_more_than_the_limit() -> None:
    for delay, most, wait, warmup, active in itertools.product(range(3), repeat=5):
        c = config(delay=delay, max=most, wait=wait, warmup=warmup, active=active + 1)
        skip, limit = delay, most
        if wait or warmup:
            skip += wait + warmup
            limit = min(most, active + 1) if most else active + 1
        want = "." * skip + ("R" * limit + "|" if limit else "R" * (30 - skip))
        assert windows(c, 30) == want, c


def test_what_ended_it_has_a_name() -> None:
    assert Schedule(config(max=3)).cause == BY_ITERATIONS
    assert Schedule(config(wait=1, active=2)).cause == BY_SCHEDULE
    assert Schedule(config(wait=1, active=5, max=2)).cause == BY_ITERATIONS
