from __future__ import annotations

import json

import pytest

from kinetoscope import protocol as p


def test_names_are_those_of_the_protocol() -> None:
    r = p.RankID("omni", 1, 2, 3)
    assert r.key() == "omni.s1.r2.k3"
    assert r.subject("arm") == "ks.v1.rank.omni.s1.r2.k3.arm"
    assert r.event_subject() == "ks.v1.event.omni.s1.r2.k3"
    assert r.file_base() == "stage1_replica2_rank3"


@pytest.mark.parametrize("bad", [p.RankID("a.b"), p.RankID(""), p.RankID("x" * 65), p.RankID("a", -1)])
def test_bad_rank_is_refused(bad: p.RankID) -> None:
    with pytest.raises(ValueError, match=r"pipeline name|negative"):
        bad.validate()


def test_round_trip_and_unknown_members() -> None:
    body = {
        "session": "s",
        "config": {"profiler": "torch", "torch_profiler_with_stack": False, "later": 1},
        "max_duration_ns": 5,
        "hub": "h",
        "new": [],
    }
    r = p.ArmRequest.from_json(json.dumps(body).encode())
    assert r.config.torch_profiler_with_stack is False
    assert r.config.active_iterations == 5
    assert p.ArmRequest.from_json(r.to_json()) == r


def test_optional_members_are_left_out() -> None:
    out = json.loads(p.RankStatus(pipeline="p", state=p.ARMED).to_json())
    assert out["state"] == "armed"
    assert not {"reason", "session", "started_at_ns", "stopped_by", "artifacts"} & out.keys()
    assert out["clock"] == {"offset_ns": 0, "error_ns": 0, "rtt_ns": 0}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"session": 1}', "session"),
        (b'{"config": []}', "config"),
        (b'{"config": {"delay_iterations": true}}', "delay_iterations"),
        (b"[]", "object"),
        (b"{", "ArmRequest"),
        (b"\xff", "ArmRequest"),
    ],
)
def test_bad_bodies_name_what_is_wrong(body: bytes, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        p.ArmRequest.from_json(body)


def test_no_body_is_all_defaults() -> None:
    assert p.SessionRequest.from_json(b"") == p.SessionRequest()


def test_ulids_sort_by_time_and_differ() -> None:
    a = [p.new_ulid() for _ in range(100)]
    assert len(set(a)) == 100
    assert all(len(u) == 26 for u in a)
    assert a[0][:9] <= a[-1][:9]


@pytest.mark.parametrize(
    ("field", "value"), [("delay_iterations", -1), ("iteration", "hour"), ("profiler", "magic")]
)
def test_bad_config_names_the_field(field: str, value: object) -> None:
    c = p.ProfilerConfig.from_dict({field: value})
    with pytest.raises(ValueError, match=field):
        c.validate()
