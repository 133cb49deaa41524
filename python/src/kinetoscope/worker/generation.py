"""generation stages: any callable, named as module:function or file.py:function.

The callable gets a Chunk and returns what it makes of it:

- a tensor of samples in [-1, 1] (audio; the callable's sample_rate says how many a second),
- bytes or a list of them (files, images as PNG),
- text,
- Handoff(tokens, tensors) for the next stage,
- None for nothing yet.

A class is made once, as cls(stage, device), and its instances are called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kinetoscope import regions, wire
from kinetoscope.worker.durations import HANDOFF
from kinetoscope.worker.loop import INTERNAL, OVERLOADED, Loop, Plan, RequestError

DEFAULT_SAMPLE_RATE = 24_000

# What the step is called, by what the stage makes.
_NAMES = {"audio": regions.VOCODE, "image": regions.VAE_DECODE, "": regions.TEXT_ENCODE}


@dataclass
class Chunk:
    """What a callable works on: one hand-off of one request, or the request itself."""

    request: dict[str, Any]
    tokens: list[int]
    tensors: list[torch.Tensor]  # flat; on the stage's device
    final: bool  # nothing more comes for this request
    state: dict[str, Any]  # the callable's own, kept until the request ends; on every rank


@dataclass
class Handoff:
    """What a callable hands to the next stage."""

    tokens: list[int] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)


@dataclass
class _Stream:
    request: dict[str, Any]
    waiting: deque[wire.Message] = field(default_factory=deque)
    next_in: int = 0
    next_out: int = 0
    durations: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def find(spec: str) -> Any:
    """The object that module:name or path.py:name names."""
    where, _, name = spec.rpartition(":")
    if not where:
        raise ValueError(f"model {spec!r}: want module:function or file.py:function")
    if where.endswith(".py"):
        path = Path(where)
        found = importlib.util.spec_from_file_location(path.stem, path)
        if found is None or found.loader is None or not path.exists():
            raise ValueError(f"model {spec!r}: no such file")
        module = importlib.util.module_from_spec(found)
        sys.modules[path.stem] = module
        found.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    if not hasattr(module, name):
        raise ValueError(f"model {spec!r}: {where} has no {name}")
    return getattr(module, name)


class Generation:
    """The runner of a generation stage."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.stage = loop, loop.stage
        torch.manual_seed(self.stage.seed)
        f = find(self.stage.model)
        self.f: Callable[[Chunk], Any] = f(self.stage, loop.device) if isinstance(f, type) else f
        if not callable(self.f):
            raise ValueError(f"model {self.stage.model!r} is not callable")
        self.rate = int(getattr(self.f, "sample_rate", DEFAULT_SAMPLE_RATE))
        self.kind = _NAMES.get(self.stage.final_output_type, regions.TEXT_ENCODE)
        self.streams: dict[str, _Stream] = {}
        self.states: dict[str, dict[str, Any]] = {}  # on every rank
        self.free: list[str] = []

    def pending(self) -> int:
        """Requests in the stage."""
        return len(self.streams)

    def accept(self, m: wire.Message) -> None:
        """Take a submit or a hand-off."""
        if m.request is not None and m.id not in self.streams:
            if len(self.streams) >= self.stage.max_queue:
                raise RequestError(f"{len(self.streams)} requests are in the stage already", OVERLOADED)
            self.streams[m.id] = _Stream(m.request)
        s = self.streams.get(m.id)
        if s is None:
            return  # cancelled here; what was on the way is not wanted
        if m.kind == wire.HANDOFF:
            if m.chunk != s.next_in:
                raise RuntimeError(f"hand-off {s.next_in} was lost: got {m.chunk}")
            s.next_in += 1
            s.durations[HANDOFF] += m.took_ns
        s.waiting.append(m)

    def cancel(self, request: str) -> None:
        """Forget a request."""
        if self.streams.pop(request, None) is not None:
            self.free.append(request)

    def plan(self) -> Plan | None:
        """One chunk of each request that has one, the oldest first, up to max_num_seqs."""
        free, self.free = self.free, []
        p = Plan(self.kind, body={"free": free, "chunks": []})
        for request, s in self.streams.items():
            if not s.waiting or len(p.requests) >= self.stage.max_num_seqs:
                continue
            m = s.waiting.popleft()
            p.requests.append(request)
            p.body["chunks"].append(
                {
                    "request": s.request,
                    "tokens": m.tokens,
                    "tensors": [len(p.tensors), len(p.tensors) + len(m.tensors)],
                    "final": m.final or m.kind == wire.SUBMIT,
                }
            )
            p.tensors += m.tensors
            p.tokens += len(m.tokens)
        if p.requests:
            return p
        return Plan("free", body=p.body) if free else None

    def run(self, plan: Plan) -> list[Any]:
        """Call the callable for every chunk, on every rank."""
        for request in plan.body["free"]:
            self.states.pop(request, None)
        out: list[Any] = []
        for request, c in zip(plan.requests, plan.body["chunks"], strict=True):
            a, b = c["tensors"]
            tensors = [t.to(self.loop.device) for t in plan.tensors[a:b]]
            state = self.states.setdefault(request, {})
            try:
                out.append(self.f(Chunk(c["request"], c["tokens"], tensors, c["final"], state)))
            except Exception as e:  # the request's failure, not the rank's
                out.append(e)
        return out

    def emit(self, plan: Plan, result: list[Any], ns: int) -> None:
        """Send what was made."""
        if plan.kind == "free":
            return
        for request, c, made in zip(plan.requests, plan.body["chunks"], result, strict=True):
            s = self.streams.get(request)
            if s is None:
                continue
            s.durations[plan.kind] += ns
            try:
                if isinstance(made, Exception):
                    raise made
                self._send(s, made, c["final"])
            except Exception as e:
                self.loop.fail_request(s.request, INTERNAL, f"{type(e).__name__}: {e}")
                self.cancel(request)
                continue
            if c["final"]:
                self.loop.done(s.request, dict(s.durations))
                self.cancel(request)
        # The next plan begins with another request.
        if len(self.streams) > 1:
            first = next(iter(self.streams))
            self.streams[first] = self.streams.pop(first)

    def _send(self, s: _Stream, made: Any, final: bool) -> None:
        if made is None and not final:
            return
        head: dict[str, Any] = {"chunk": s.next_out, "final": final}
        if isinstance(made, Handoff):
            head["tokens"] = made.tokens
            self.loop.handoff(s.request, wire.Message(head, made.tensors))
            s.next_out += 1
            return
        if not self.stage.final_output:
            raise TypeError(
                f"{self.stage.model} made {type(made).__name__}, a Handoff goes to the next stage"
            )
        head["type"] = self.stage.final_output_type
        if final:
            head["reason"] = "stop"
        blobs: list[bytes] = []
        if isinstance(made, torch.Tensor):
            head["sample_rate"] = self.rate
            blobs = [pcm16(made)]
        elif isinstance(made, str):
            head["text"] = made
        elif isinstance(made, bytes):
            blobs = [made]
        elif isinstance(made, list):
            blobs = [bytes(b) for b in made]
        elif made is not None:
            raise TypeError(f"{self.stage.model} made {type(made).__name__}")
        elif self.stage.final_output_type == "audio":
            head["sample_rate"], blobs = self.rate, [b""]
        self.loop.output(s.request, wire.Message(head, [], blobs))
        s.next_out += 1


def pcm16(samples: torch.Tensor) -> bytes:
    """Samples in [-1, 1] as 16 bits, little-endian."""
    x = samples.detach().float().flatten().nan_to_num().clamp(-1, 1).mul(32767).round().to(torch.int16).cpu()
    return bytes(x.numpy().astype("<i2").tobytes())
