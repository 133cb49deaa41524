"""What hub and ranks say to each other over NATS: subjects, messages, limits.

The contract is docs/protocol.md; this module is its Python side and does no I/O.
Messages are dataclasses. A reader ignores members that it does not know and takes the
default for those that are absent; a member of a wrong type is a ValueError that names it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

VERSION = 1
MAX_PAYLOAD = 8 << 20
PRESENCE_INTERVAL_S = 2.0
HUB_LOSS_TIMEOUT_S = 30.0

BUCKET_RANKS = "ks_ranks"
BUCKET_ARTIFACTS = "ks_artifacts"
BUCKET_DEPLOY = "ks_deploy"
BUCKET_RENDEZVOUS = "ks_rendezvous"

SERVICE_NAME = "kinetoscope-rank"
HEADER_INCARNATION = "Ks-Incarnation"
HUB_BEATS = "ks.v1.hub.*.beat"

IDLE, ARMED, RECORDING, STOPPED = "idle", "armed", "recording", "stopped"
COMPLETE, FAILED = "complete", "failed"

BY_REQUEST, BY_ITERATIONS, BY_SCHEDULE = "request", "max_iterations", "schedule"
BY_DURATION, BY_BYTES, BY_HUB_LOST = "max_duration", "max_bytes", "hub_lost"
BY_SUPERSEDED, BY_FLIGHT, BY_EXIT = "superseded", "flight", "exit"

_PIPELINE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

M = TypeVar("M", bound="Message")


def _fits(value: Any, hint: Any) -> bool:
    """Whether value, as JSON gave it, is of the type that hint names."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, h) for h in typing.get_args(hint))
    if hint is type(None):
        return value is None
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return isinstance(value, dict)
    return isinstance(value, typing.cast(type, origin or hint))


@dataclass
class Message:
    """Base of all messages: to and from JSON objects."""

    @classmethod
    def from_dict(cls: type[M], data: Any) -> M:
        """Read a decoded JSON object; ValueError names the member that is wrong."""
        if not isinstance(data, dict):
            raise ValueError(f"{cls.__name__}: want a JSON object, got {type(data).__name__}")
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            if f.name not in data or data[f.name] is None:
                continue
            value, hint = data[f.name], hints[f.name]
            if not _fits(value, hint):
                raise ValueError(f"{cls.__name__}.{f.name}: want {hint}, got {value!r}")
            for h in (hint, *typing.get_args(hint)):
                if isinstance(h, type) and issubclass(h, Message) and isinstance(value, dict):
                    value = h.from_dict(value)
            values[f.name] = value
        return cls(**values)

    @classmethod
    def from_json(cls: type[M], data: bytes) -> M:
        """Read a message's body; no body at all is the message with all defaults."""
        try:
            return cls.from_dict(json.loads(data) if data else {})
        except (json.JSONDecodeError, UnicodeDecodeError) as e:
            raise ValueError(f"{cls.__name__}: {e}") from e

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, without optional members that are empty."""
        out: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.metadata.get("optional") and not value:
                continue
            out[f.name] = _plain(value)
        return out

    def to_json(self) -> bytes:
        """The message's body."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _optional(default: Any = "") -> Any:
    return field(default=default, metadata={"optional": True})


@dataclass
class RankID(Message):
    """Which rank of which pipeline."""

    pipeline: str = ""
    stage: int = 0
    replica: int = 0
    rank: int = 0

    def key(self) -> str:
        """The rank's key in BUCKET_RANKS."""
        return f"{self.pipeline}.s{self.stage}.r{self.replica}.k{self.rank}"

    def subject(self, method: str) -> str:
        """Where the rank answers method."""
        return f"ks.v1.rank.{self.key()}.{method}"

    def event_subject(self) -> str:
        """Where the rank reports, unasked, that its recording ended."""
        return f"ks.v1.event.{self.key()}"

    def identity(self) -> str:
        """Who a connection of the rank is: the server lets it say and hear what is the rank's alone."""
        return f"rank.{self.key()}"

    def sender(self) -> str:
        """The last token of subjects on which the rank sends between stages."""
        return f"s{self.stage}-r{self.replica}-k{self.rank}"

    def file_base(self) -> str:
        """Begins the names of the files that the rank spools for a session."""
        return f"stage{self.stage}_replica{self.replica}_rank{self.rank}"

    def text(self) -> str:
        """The rank for people."""
        return f"{self.pipeline} stage {self.stage} replica {self.replica} rank {self.rank}"

    def validate(self) -> None:
        """Refuse what has no subject of its own."""
        if not _PIPELINE.match(self.pipeline):
            raise ValueError(f"pipeline name {self.pipeline!r}: 1 to 64 letters, digits, '_' or '-'")
        if min(self.stage, self.replica, self.rank) < 0:
            raise ValueError(f"rank {self.text()}: negative number")


@dataclass
class ProfilerConfig(Message):
    """vLLM's names and defaults; see docs/protocol.md."""

    profiler: str = ""
    torch_profiler_dir: str = ""
    torch_profiler_with_stack: bool = True
    torch_profiler_with_flops: bool = False
    torch_profiler_use_gzip: bool = True
    torch_profiler_dump_cuda_time_total: bool = True
    torch_profiler_record_shapes: bool = False
    torch_profiler_with_memory: bool = False
    torch_profiler_execution_trace: bool = False
    ignore_frontend: bool = False
    torch_profiler_activities: list[str] = field(default_factory=list, metadata={"optional": True})
    delay_iterations: int = 0
    max_iterations: int = 0
    wait_iterations: int = 0
    warmup_iterations: int = 0
    active_iterations: int = 5
    iteration: str = "step"
    sample_requests: int = 0

    def validate(self) -> None:
        """Refuse values out of range; the error names the field."""
        for name in ("delay", "max", "wait", "warmup", "active"):
            value = getattr(self, f"{name}_iterations")
            if value < 0:
                raise ValueError(f"profiler_config.{name}_iterations is {value}: want 0 or more")
        if self.active_iterations < 1 and (self.wait_iterations or self.warmup_iterations):
            raise ValueError("profiler_config.active_iterations is 0: want 1 or more with wait or warmup")
        if self.iteration not in ("", "step", "request"):
            raise ValueError(f'profiler_config.iteration is {self.iteration!r}: want "step" or "request"')
        if self.profiler not in ("", "torch", "cuda"):
            raise ValueError(f'profiler_config.profiler is {self.profiler!r}: want "torch" or "cuda"')


@dataclass
class RankInfo(RankID):
    """A rank's presence."""

    protocol: int = VERSION
    incarnation: str = ""
    stage_name: str = ""
    stage_type: str = "generation"
    world_size: int = 1
    engine: str = "torch"
    pid: int = 0
    host: str = ""
    profiler_config: ProfilerConfig | None = _optional(None)
    started_at: str = ""
    ready: bool = False
    spool_dir: str = _optional()
    coll_addr: str = _optional()
    quiet_ns: int = _optional(0)
    session: str = _optional()

    def id(self) -> RankID:
        """Who it is, alone."""
        return RankID(self.pipeline, self.stage, self.replica, self.rank)


@dataclass
class ClockError(Message):
    """A rank's clock against the hub's; the hub fills it in."""

    offset_ns: int = 0
    error_ns: int = 0
    rtt_ns: int = 0


@dataclass
class Artifact(Message):
    """A file that a rank hands over."""

    name: str = ""
    kind: str = ""
    size: int = 0
    sha256: str = ""
    object: str = _optional()


@dataclass
class RankStatus(RankID):
    """A rank's part in a session."""

    stage_name: str = ""
    state: str = IDLE
    reason: str = _optional()
    session: str = _optional()
    started_at_ns: int = _optional(0)
    stopped_at_ns: int = _optional(0)
    clock: ClockError = field(default_factory=ClockError)
    events: int = 0
    bytes: int = 0
    drops: int = 0
    iterations: int = 0
    stopped_by: str = _optional()
    artifacts: list[Artifact] = field(default_factory=list, metadata={"optional": True})
    held: list[str] = field(default_factory=list, metadata={"optional": True})


@dataclass
class ClockProbe(Message):
    """The hub's question for the rank's clock."""

    t1: int = 0


@dataclass
class ArmRequest(Message):
    """Make ready to record a session."""

    session: str = ""
    config: ProfilerConfig = field(default_factory=ProfilerConfig)
    max_duration_ns: int = 0
    max_bytes: int = 0
    last_ns: int = 0
    hub: str = ""


@dataclass
class StartRequest(Message):
    """Start at at_ns of the rank's clock."""

    session: str = ""
    at_ns: int = 0


@dataclass
class SessionRequest(Message):
    """Stop or collect a session; bucket takes what is collected."""

    session: str = ""
    bucket: str = ""


@dataclass
class AbortRequest(Message):
    """Drop a session, whatever its state."""

    session: str = ""
    reason: str = ""
    keep: bool = False


@dataclass
class CallRequest(Message):
    """collective_rpc on one rank."""

    method: str = ""
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class CallReply(RankID):
    """One rank's answer to a CallRequest."""

    ok: bool = False
    error: str = _optional()
    result: Any = _optional(None)


@dataclass
class HubBeat(Message):
    """A hub is alive."""

    hub: str = ""
    at_ns: int = 0


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid() -> str:
    """A ULID: 48 bits of milliseconds and 80 of randomness, in Crockford's base 32."""
    n = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[n >> 5 * i & 31] for i in reversed(range(26)))


def now_ns() -> int:
    """The rank's clock: Unix nanoseconds."""
    return time.time_ns()
