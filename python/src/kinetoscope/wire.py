"""The data path: frames between orchestrator and stages, as package omni/wire has them.

A frame is a JSON header with float32 tensors and blobs behind it, little-endian:

    u32 header bytes | u16 tensors | u16 blobs | a u32 size each | header | tensors | blobs

A tensor's size counts floats, a blob's bytes. Tensors travel flat; who reads knows the shape.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import torch

from kinetoscope.protocol import MAX_PAYLOAD

MAX_PARTS = 4096
MAX_HEADER = 1 << 20

SUBMIT, HANDOFF, CANCEL = "submit", "handoff", "cancel"
OUTPUT, DONE, ERROR = "output", "done", "error"
SENDER_HUB = "hub"  # the last token of subjects on which the hub sends


class FrameError(ValueError):
    """Bytes that are no frame, or a frame over the wire's limits."""


def encode_frame(head: dict[str, Any], tensors: list[torch.Tensor], blobs: list[bytes]) -> bytes:
    """Return a frame of head and what goes with it. Tensors of any shape, type and device."""
    if len(tensors) > MAX_PARTS or len(blobs) > MAX_PARTS:
        raise FrameError(f"{len(tensors)} tensors and {len(blobs)} blobs, at most {MAX_PARTS} each")
    js = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    if len(js) > MAX_HEADER:
        raise FrameError(f"header of {len(js)} bytes is over {MAX_HEADER}")
    raw = [_bytes_of(t) for t in tensors]
    sizes = [len(r) // 4 for r in raw] + [len(b) for b in blobs]
    prefix = struct.pack(f"<IHH{len(sizes)}I", len(js), len(tensors), len(blobs), *sizes)
    return b"".join([prefix, js, *raw, *blobs])


def _bytes_of(t: torch.Tensor) -> bytes:
    flat = t.detach().to("cpu", torch.float32).contiguous().flatten()
    return bytes(flat.numpy().tobytes())


def decode_frame(data: bytes) -> tuple[dict[str, Any], list[torch.Tensor], list[bytes]]:
    """Read a frame; the tensors are flat float32 on the CPU and share no memory with data."""
    if len(data) < 8:
        raise FrameError(f"{len(data)} bytes, want 8 and more")
    n, nt, nb = struct.unpack_from("<IHH", data)
    if nt > MAX_PARTS or nb > MAX_PARTS or n > MAX_HEADER:
        raise FrameError(f"{nt} tensors, {nb} blobs, header of {n} bytes: over the limits")
    at = 8 + 4 * (nt + nb)
    if len(data) < at + n:
        raise FrameError(f"cut: {len(data)} bytes, want {at + n} and more")
    sizes = struct.unpack_from(f"<{nt + nb}I", data, 8)
    want = at + n + 4 * sum(sizes[:nt]) + sum(sizes[nt:])
    if len(data) != want:
        raise FrameError(f"{len(data)} bytes, its sizes say {want}")
    try:
        head = json.loads(data[at : at + n])
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FrameError(f"header: {e}") from e
    if not isinstance(head, dict):
        raise FrameError("header is no JSON object")
    at += n
    tensors: list[torch.Tensor] = []
    for size in sizes[:nt]:
        part = bytearray(data[at : at + 4 * size])
        tensors.append(torch.frombuffer(part, dtype=torch.float32) if size else torch.empty(0))
        at += 4 * size
    blobs: list[bytes] = []
    for size in sizes[nt:]:
        blobs.append(bytes(data[at : at + size]))
        at += size
    return head, tensors, blobs


@dataclass
class Message:
    """One message of the data path: the header's members, and what lies behind it."""

    head: dict[str, Any]
    tensors: list[torch.Tensor] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    took_ns: int = 0  # a hand-off's way, set by who receives it on the same host

    @property
    def kind(self) -> str:
        """What the message is: submit, handoff, cancel …"""
        return str(self.head.get("kind", ""))

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.head.get("id", ""))

    @property
    def request(self) -> dict[str, Any] | None:
        """The request, with a submit and with a stage's first hand-off."""
        r = self.head.get("request")
        return r if isinstance(r, dict) else None

    @property
    def final(self) -> bool:
        """The last hand-off or output of the stage."""
        return bool(self.head.get("final"))

    @property
    def chunk(self) -> int:
        """Hand-offs and outputs of a stage count from 0."""
        return int(self.head.get("chunk", 0))

    @property
    def tokens(self) -> list[int]:
        """Token ids, codec frames, or dimensions: the sender's to say."""
        return [int(t) for t in self.head.get("tokens") or []]

    def encode(self) -> bytes:
        """One payload; FrameError if it is over the wire's limit."""
        data = encode_frame(self.head, self.tensors, self.blobs)
        if len(data) > MAX_PAYLOAD:
            raise FrameError(
                f"{self.kind} of request {self.id}: {len(data)} bytes are over the wire's {MAX_PAYLOAD}; "
                "lower handoff_chunk or n"
            )
        return data


def decode(data: bytes) -> Message:
    """Read a payload."""
    head, tensors, blobs = decode_frame(data)
    return Message(head, tensors, blobs)


def flow(request: str, from_stage: int, to_stage: int, chunk: int) -> int:
    """The flow id of a hand-off, the same at both ends and in every language: FNV-1a, below 2^53."""
    mask = (1 << 64) - 1
    h = 14695981039346656037
    parts = request.encode()
    for v in (from_stage, to_stage, chunk):
        parts += bytes((v & 255, v >> 8 & 255, v >> 16 & 255))
    for b in parts:
        h = (h ^ b) * 1099511628211 & mask
    return h >> 11 | 1


def sampled(request: str, every: int) -> bool:
    """Whether sample_requests chooses the request: by its id alone, so that all ranks decide alike."""
    return every <= 1 or (flow(request, 0, 0, 0) >> 1) % every == 0  # the lowest bit is always set


def subject(pipeline: str, stage: int, replica: int) -> str:
    """Where a replica of a stage takes messages."""
    return f"ks.v1.data.{pipeline}.s{stage}.r{replica}"


def from_sender(to: str, sender: str) -> str:
    """Where sender sends what is taken at the subject to; NATS lets nobody else send there."""
    return f"{to}.{sender}"


def from_all(to: str) -> str:
    """Matches from_sender of every sender."""
    return f"{to}.*"


def check_sender(subject_: str, m: Message) -> None:
    """Refuse (FrameError) a message that says it is another stage's, or of whom it may not be."""
    sender = subject_.rpartition(".")[2]
    of_hub = m.kind in (SUBMIT, CANCEL)
    if sender == SENDER_HUB:
        if not of_hub:
            raise FrameError(f"a {m.kind} of request {m.id} comes from the hub: only stages send that")
    elif of_hub or sender.partition("-")[0] != f"s{m.head.get('from')}":
        raise FrameError(
            f"a {m.kind} of request {m.id} says that stage {m.head.get('from')} sent it, but {sender} did"
        )
