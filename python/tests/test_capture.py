from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kinetoscope import annotate, regions
from kinetoscope import protocol as p
from kinetoscope.capture import MAX_CAPTURES, SessionHandler
from kinetoscope.exported import Exported, Made


def sid(name: str) -> str:
    """A session's id, a ULID, with a short name in it."""
    return "01M84JPGKD" + name.upper().rjust(16, "0")


class Fake:
    """A recorder that writes down what it was told."""

    def __init__(self, fail: str = "") -> None:
        self.calls: list[str] = []
        self.fail = fail
        self.hold: threading.Event | None = None
        self.dir = self.spill = Path()

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if self.fail == what:
            raise OSError(f"cannot {what}")

    def prepare(self, directory: Path, spill: Path) -> None:
        directory.mkdir(parents=True)
        self.dir, self.spill = directory, spill
        self._do("prepare")

    def warm(self) -> None:
        self._do("warm")

    def open(self) -> None:
        self._do("open")

    def close(self) -> None:
        self._do("close")

    def discard(self) -> None:
        self._do("discard")

    def release(self) -> None:
        self._do("release")

    def export(self, final: Callable[[str], Path] | None = None) -> Exported:
        if self.hold is not None:
            self.hold.wait(10)
        self._do("export")
        assert final is not None
        path = final("trace.json.gz")
        path.write_bytes(b"x" * 10)
        return Exported([Made("trace.json.gz", "trace", path)], slices=7)


class Unit:
    def __init__(self, spool: Path) -> None:
        self.recorders: list[Fake] = []
        self.told: list[p.RankStatus] = []
        self.next = Fake()
        info = p.RankInfo("p", 1, 0, 2, stage_name="talker")
        self.h = SessionHandler(info, spool, self._make, notify=self.told.append, hub_ttl_s=0.2)

    def _make(self, r: p.ArmRequest) -> Fake:
        f, self.next = self.next, Fake()
        self.recorders.append(f)
        return f

    def begin(self, session: str = "", **config: object) -> Fake:
        session = session or sid("s")
        r = p.ArmRequest.from_dict({"session": session, "config": config})
        assert self.h.arm(r).state == p.ARMED
        assert self.h.start(p.StartRequest(session, p.now_ns())).state == p.RECORDING
        return self.recorders[-1]


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    u = Unit(tmp_path)
    yield u
    u.h.close()


def test_a_session_from_arm_to_abort(unit: Unit, tmp_path: Path) -> None:
    f = unit.begin()
    assert f.calls == ["prepare", "warm", "open"]
    s = unit.h.stop(p.SessionRequest(sid("s")))
    assert (s.state, s.stopped_by) == (p.STOPPED, p.BY_REQUEST)
    assert s.started_at_ns <= s.stopped_at_ns
    s, files = unit.h.collect(p.SessionRequest(sid("s")))
    assert s.events == 7
    assert [x.name for x in files] == ["trace.json.gz"]
    assert files[0].path.name == "stage1_replica0_rank2.trace.json.gz"  # what a hub salvages
    assert unit.h.stop(p.SessionRequest(sid("s"))).state == p.STOPPED  # again: no error
    unit.h.abort(p.AbortRequest(sid("s"), "collected"))
    assert list(tmp_path.iterdir()) == []
    assert unit.h.status().state == p.IDLE
    eventually(lambda: f.calls[-1] == "release")  # after the answer


def test_starts_at_the_instant(unit: Unit) -> None:
    unit.h.arm(p.ArmRequest(sid("s")))
    at = p.now_ns() + 50_000_000
    s = unit.h.start(p.StartRequest(sid("s"), at))
    assert s.started_at_ns >= at


def test_export_does_not_hold_up_the_next_session(unit: Unit) -> None:
    f = unit.begin(sid("a"))
    f.hold = threading.Event()
    unit.h.stop(p.SessionRequest(sid("a")))
    unit.begin(sid("b"))
    unit.h.step()
    f.hold.set()
    assert len(unit.h.collect(p.SessionRequest(sid("a")))[1]) == 1


def test_steps_are_counted_and_end_it(unit: Unit) -> None:
    f = unit.begin(delay_iterations=1, max_iterations=2)
    assert f.calls == ["prepare"]
    unit.h.request()  # not what is counted
    unit.h.step()
    assert f.calls[-1] == "open"
    unit.h.step()
    assert not unit.told
    unit.h.step()
    assert unit.told[0].stopped_by == p.BY_ITERATIONS
    assert unit.told[0].iterations == 2
    unit.h.step()
    assert f.calls.count("close") == 1


def test_requests_are_counted_if_asked_for(unit: Unit) -> None:
    unit.begin(iteration="request", max_iterations=1)
    unit.h.step()
    assert not unit.told
    unit.h.request()
    assert unit.told[0].iterations == 1


def test_a_window_that_never_opened(unit: Unit, tmp_path: Path) -> None:
    f = unit.begin(delay_iterations=5)
    s = unit.h.stop(p.SessionRequest(sid("s")))
    assert s.started_at_ns == 0
    assert "schedule" in s.reason
    assert unit.h.collect(p.SessionRequest(sid("s")))[1] == []
    assert f.calls == ["prepare", "discard"]
    assert list(tmp_path.iterdir()) == []


def test_one_session_at_a_time(unit: Unit) -> None:
    unit.h.arm(p.ArmRequest(sid("a"), hub="h"))
    with pytest.raises(RuntimeError, match=f"session {sid('a')} of hub 'h' is armed"):
        unit.h.arm(p.ArmRequest(sid("b"), hub="other"))
    assert unit.h.arm(p.ArmRequest(sid("a"), hub="h")).session == sid("a")  # again: no error
    assert unit.h.arm(p.ArmRequest(sid("b"), hub="h")).session == sid("b")  # the same hub has given a up
    assert unit.h.stop(p.SessionRequest(sid("a"))).stopped_by == p.BY_SUPERSEDED
    assert not unit.told


@pytest.mark.parametrize("what", ["prepare", "warm"])
def test_what_cannot_be_armed_is_refused(unit: Unit, what: str) -> None:
    unit.next = Fake(fail=what)
    with pytest.raises(OSError, match=f"cannot {what}"):
        unit.h.arm(p.ArmRequest(sid("s")))
    assert unit.h.status().state == p.IDLE


def test_a_recorder_that_does_not_open_fails_the_rank(unit: Unit) -> None:
    unit.next = Fake(fail="open")
    unit.h.arm(p.ArmRequest(sid("s")))
    with pytest.raises(RuntimeError, match="cannot open"):
        unit.h.start(p.StartRequest(sid("s"), 0))
    assert unit.told[0].state == p.FAILED
    failed = unit.recorders[-1]
    assert failed.calls[-1] == "discard"
    assert not failed.dir.parent.exists()  # nothing of it is left
    unit.begin(sid("next"))


def test_an_export_that_fails_is_the_ranks_failure(unit: Unit) -> None:
    unit.next = Fake(fail="export")
    unit.begin()
    unit.h.stop(p.SessionRequest(sid("s")))
    with pytest.raises(OSError, match="cannot export"):
        unit.h.collect(p.SessionRequest(sid("s")))


def eventually(f: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not f():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for(told: list[p.RankStatus]) -> p.RankStatus:
    eventually(lambda: bool(told))
    return told[0]


def test_max_duration(unit: Unit) -> None:
    unit.h.arm(p.ArmRequest(sid("s"), max_duration_ns=20_000_000))
    unit.h.start(p.StartRequest(sid("s"), 0))
    assert wait_for(unit.told).stopped_by == p.BY_DURATION


def test_a_silent_hub_ends_it(unit: Unit) -> None:
    unit.h.arm(p.ArmRequest(sid("s"), hub="h"))
    unit.h.start(p.StartRequest(sid("s"), 0))
    for _ in range(4):
        time.sleep(0.1)
        unit.h.hub_seen("h")
    assert not unit.told
    assert wait_for(unit.told).stopped_by == p.BY_HUB_LOST


def test_max_bytes_is_about_memory(unit: Unit) -> None:
    unit.h.arm(p.ArmRequest(sid("s"), max_bytes=1))
    unit.h.start(p.StartRequest(sid("s"), 0))
    ballast = bytearray(64 << 20)
    assert wait_for(unit.told).stopped_by == p.BY_BYTES
    assert ballast


def test_old_sessions_are_forgotten(unit: Unit) -> None:
    for i in range(MAX_CAPTURES + 2):
        unit.begin(sid(str(i)))
        unit.h.stop(p.SessionRequest(sid(str(i))))
    with pytest.raises(RuntimeError, match="not known"):
        unit.h.stop(p.SessionRequest(sid("0")))
    assert "earlier process" in unit.h.collect(p.SessionRequest(sid("0")))[0].reason
    assert len(unit.h.collect(p.SessionRequest(sid("9")))[1]) == 1


def test_no_past_to_hand_over(unit: Unit) -> None:
    with pytest.raises(RuntimeError, match="flight recorder"):
        unit.h.arm(p.ArmRequest(sid("s"), last_ns=1))


@pytest.fixture
def kept() -> Iterator[None]:
    regions.keep_past(1)
    yield
    regions.keep_past(0)


def test_a_look_back_waits_for_no_step(tmp_path: Path, kept: None) -> None:
    told: list[p.RankStatus] = []
    hangs: list[Callable[[], None]] = []  # what the recorded thread would do, if it came by
    info = p.RankInfo("p", 1, 0, 2, stage_name="talker")
    h = SessionHandler(info, tmp_path, lambda r: Fake(), on_recorder=hangs.append, notify=told.append)
    with annotate("decode_step", step=7):
        h.arm(p.ArmRequest(sid("s"), last_ns=10**9))
        s = h.start(p.StartRequest(sid("s"), p.now_ns()))
    assert (s.state, s.stopped_by) == (p.STOPPED, p.BY_FLIGHT)
    assert s.stopped_at_ns - s.started_at_ns >= 10**9
    assert wait_for(told).stopped_by == p.BY_FLIGHT
    s, files = h.collect(p.SessionRequest(sid("s")))
    assert [f.name for f in files] == ["trace.json.gz"]
    assert s.events == 1
    assert not hangs
    h.abort(p.AbortRequest(sid("s")))
    assert list(tmp_path.iterdir()) == []
    h.close()


SESSION = "01M84JPGKD1F6DJP5AGT4TD8KA"


def test_what_an_earlier_process_left_goes_home(unit: Unit, tmp_path: Path) -> None:
    mine = tmp_path / SESSION / "stage1_replica0_rank2.regions.json"
    mine.parent.mkdir()
    mine.write_text("{")
    other = mine.with_name("stage1_replica0_rank20.regions.json")
    other.write_text("{")
    s, files = unit.h.collect(p.SessionRequest(SESSION))
    assert "earlier process" in s.reason
    assert [(f.name, f.kind, f.path) for f in files] == [("regions.json", "trace", mine)]
    unit.h.abort(p.AbortRequest(SESSION, keep=True))
    assert mine.exists()
    unit.h.abort(p.AbortRequest(SESSION))
    assert [f for f in mine.parent.iterdir()] == [other]
    for bad in ("..", "", SESSION.lower(), "x" * 26):
        with pytest.raises(RuntimeError, match="not known"):
            unit.h.collect(p.SessionRequest(bad))


def test_an_export_that_fails_leaves_the_regions(unit: Unit) -> None:
    f = unit.next = Fake(fail="export")
    unit.begin()
    f.spill.write_text("{")
    unit.h.stop(p.SessionRequest(sid("s")))
    s, files = unit.h.collect(p.SessionRequest(sid("s")))
    assert [x.name for x in files] == ["regions.json"]
    assert "cannot export" in s.reason
    unit.h.abort(p.AbortRequest(sid("s")))
    assert not f.spill.exists()


def test_a_trace_takes_the_place_of_the_regions(unit: Unit) -> None:
    f = unit.begin()
    f.spill.write_text("{")
    unit.h.stop(p.SessionRequest(sid("s")))
    assert [x.name for x in unit.h.collect(p.SessionRequest(sid("s")))[1]] == ["trace.json.gz"]
    assert not f.spill.exists()


def test_freeing_a_recording_is_announced(unit: Unit) -> None:
    told: list[tuple[float, list[str]]] = []

    @contextlib.contextmanager
    def quiet(seconds: float) -> Iterator[None]:
        told.append((seconds, list(f.calls)))
        yield
        assert f.calls[-1] == "release"

    unit.h.quiet = quiet
    f = unit.begin()
    unit.h.stop(p.SessionRequest(sid("s")))
    unit.h.collect(p.SessionRequest(sid("s")))
    unit.h.abort(p.AbortRequest(sid("s"), "collected"))
    eventually(lambda: f.calls[-1] == "release")
    ((seconds, before),) = told
    assert 2 < seconds < 3
    assert "release" not in before


def test_unknown_sessions(unit: Unit) -> None:
    assert unit.h.abort(p.AbortRequest(sid("x"))).state == p.IDLE
    with pytest.raises(RuntimeError, match="not known"):
        unit.h.stop(p.SessionRequest(sid("x")))
    with pytest.raises(RuntimeError, match="not armed"):
        unit.h.start(p.StartRequest(sid("x")))
