from __future__ import annotations

import pytest

from kinetoscope import regions
from kinetoscope.worker import sampling
from kinetoscope.worker.loop import Plan, decode_plan

TRACE = "0af7651916cd43dd8448eb211c80319c"
ON, OFF = f"00-{TRACE}-b7ad6b7169203331-01", f"00-{TRACE}-b7ad6b7169203331-00"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (ON, (TRACE, True)),
        (OFF, (TRACE, False)),
        (f"cc-{TRACE}-b7ad6b7169203331-03-later", (TRACE, True)),
        (f"00-{TRACE}-b7ad6b7169203331-01-more", None),
        (f"ff-{TRACE}-b7ad6b7169203331-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (ON.upper(), None),
        (ON + "\n", None),
        ("", None),
    ],
)
def test_trace_contexts_are_read_as_w3c_says(text: str, want: tuple[str, bool] | None) -> None:
    assert sampling.parse(text) == want


def test_a_trace_context_goes_before_the_id() -> None:
    d = sampling.Decisions()
    assert (d.note("on", ON), d.note("off", OFF), d.note("none", "")) == (TRACE, TRACE, "")
    decided = d.of(["on", "off", "none"])
    assert decided == {"on": True, "off": False}
    assert sampling.sampled(["off"], decided)  # nothing samples now
    regions.activate(regions.RegionLog(sample=1000))
    try:
        assert sampling.sampled(["off", "on"], decided)
        assert not sampling.sampled(["off"], decided)
    finally:
        regions.activate(None)
    d.forget("on")
    assert d.of(["on"]) == {}
    for i in range(sampling.MAX_DECISIONS + 9):
        d.note(str(i), ON)
    assert len(d._decided) == sampling.MAX_DECISIONS


def test_the_other_ranks_learn_of_it_with_the_plan() -> None:
    assert decode_plan(Plan("prefill", ["a"], decided={"a": False}).encode()).decided == {"a": False}
