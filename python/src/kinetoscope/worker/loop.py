"""A stage's loop: messages in, plans to all ranks, results out, the profiler in between."""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from nats.aio.msg import Msg

from kinetoscope import regions, wire
from kinetoscope.actions import Actions
from kinetoscope.capture import SessionHandler
from kinetoscope.platforms import Platform
from kinetoscope.protocol import RankID
from kinetoscope.rank import RankThread
from kinetoscope.regions import annotate
from kinetoscope.worker.cancelled import Cancellations
from kinetoscope.worker.durations import HANDOFF, Durations
from kinetoscope.worker.group import Group
from kinetoscope.worker.options import Deployment, Options, Stage
from kinetoscope.worker.sampling import Decisions, sampled

log = logging.getLogger("kinetoscope.worker")

# How long a waiting rank waits at a stretch. Rank 0 then sends its followers an empty plan,
# so that a dead leader is noticed and followers come to their own business.
IDLE_S = 0.02

BAD_REQUEST, OVERLOADED, INTERNAL = "bad_request", "overloaded", "internal"


class RequestError(Exception):
    """A request that fails by its own fault, or the queue's; code as the orchestrator knows it."""

    def __init__(self, why: str, code: str = BAD_REQUEST) -> None:
        super().__init__(why)
        self.code = code


@dataclass
class Plan:
    """One step of a stage, the same on every rank."""

    kind: str  # the region's name; "" is an empty plan, "free" only forgets
    requests: list[str] = field(default_factory=list)
    body: dict[str, Any] = field(default_factory=dict)
    tensors: list[torch.Tensor] = field(default_factory=list)
    tokens: int = 0
    step: int = 0
    decided: dict[str, bool] = field(default_factory=dict)  # what trace contexts say of recording requests

    def encode(self) -> bytes:
        """The plan for the other ranks."""
        head = {
            "kind": self.kind,
            "requests": self.requests,
            "body": self.body,
            "tokens": self.tokens,
            "step": self.step,
            "decided": self.decided,
        }
        return wire.encode_frame(head, self.tensors, [])


def decode_plan(data: bytes) -> Plan:
    """Read a plan of rank 0."""
    head, tensors, _ = wire.decode_frame(data)
    return Plan(
        head["kind"], head["requests"], head["body"], tensors, head["tokens"], head["step"], head["decided"]
    )


class Runner(Protocol):
    """The model of a stage and what its requests are doing. run is for every rank, all else for rank 0."""

    def accept(self, m: wire.Message) -> None:
        """Take a message; an error fails the request that it belongs to."""

    def cancel(self, request: str) -> None:
        """Forget a request."""

    def pending(self) -> int:
        """Requests that the stage holds."""

    def plan(self) -> Plan | None:
        """The next batch, None if nothing is ready."""

    def run(self, plan: Plan) -> Any:
        """Execute a plan."""

    def emit(self, plan: Plan, result: Any, ns: int) -> None:
        """Hand on what a plan made."""


class Loop:
    """One rank's loop. run is its thread's whole life; all else may be called from any thread."""

    def __init__(
        self,
        o: Options,
        deployment: Deployment,
        stage: Stage,
        group: Group,
        device: torch.device,
        stop: threading.Event,
        platform: Platform | None = None,
    ) -> None:
        self._sender = RankID(o.pipeline, o.stage, o.replica, o.rank).sender()
        self.o, self.deployment, self.stage, self.group, self.device = o, deployment, stage, group, device
        self._platform = platform or Platform()
        self.durations = Durations(self._platform)
        self._decisions = Decisions()
        self._cancelled = Cancellations()
        self._host = socket.gethostname()
        self.runner: Runner | None = None
        self.handler: SessionHandler | None = None
        self.rank: RankThread | None = None
        self._stop = stop
        self._inbox: queue.Queue[wire.Message | None] = queue.Queue(stage.max_queue)
        self._actions = Actions(threading.main_thread().ident)
        self._step = 0
        self._inner_steps = False
        self.idle_ns = 0

    # The profiler's side: what touches it runs on this thread, between steps

    def on_loop(self, f: Callable[[], None]) -> None:
        """Run f on the loop's thread, soon."""
        if self._actions.put(f):
            return
        try:
            self._inbox.put_nowait(None)  # wake it
        except queue.Full:
            log.debug("the loop has work and will come by")

    def act(self) -> None:
        """Do what was put for this thread. Called between steps, also by runners with steps inside."""
        self._actions.come_by()

    def step_ended(self) -> None:
        """A decode or denoise step has ended."""
        if self.handler is not None:
            self.handler.step()

    # Messages

    async def receive(self, msg: Msg) -> None:
        """Take a message from NATS, on the rank's event loop."""
        try:
            m = wire.decode(msg.data)
            wire.check_sender(msg.subject, m)
        except wire.FrameError as e:
            log.error("stage %s: message dropped: %s", self.stage.stage_name, e)
            return
        trace: dict[str, regions.Value] = {}
        if m.request is not None:
            trace_id = self._decisions.note(m.id, str(m.request.get("traceparent", "")))
            if trace_id:
                trace["trace_id"] = trace_id
        if m.kind == wire.HANDOFF:
            if m.head.get("host") == self._host:  # else two clocks would be compared
                m.took_ns = max(0, time.time_ns() - int(m.head.get("sent_ns", 0)))
                self.durations.observe(HANDOFF, m.took_ns)
            args: dict[str, regions.Value] = {
                "request": m.id,
                "from_stage": int(m.head.get("from", -1)),
                "chunk": m.chunk,
                "bytes": len(msg.data),
            }
            with self._recorded([m.id]), annotate(regions.HANDOFF_RECV, **args | trace) as region:
                region.flow_in = int(m.head.get("flow", 0))
                self._enqueue(m)
        else:
            if m.kind == wire.SUBMIT:
                with self._recorded([m.id]):
                    regions.instant(regions.REQUEST, request=m.id, **trace)
            self._enqueue(m)

    def _recorded(self, requests: list[str]) -> AbstractContextManager[None]:
        """Keeps what is inside out of a recording that does not want these requests; on rank 0."""
        return regions.only_if(sampled(requests, self._decisions.of(requests)))

    def _enqueue(self, m: wire.Message) -> None:
        try:
            self._inbox.put_nowait(m)
        except queue.Full:
            if m.kind == wire.CANCEL:  # what it frees is what is in the way
                threading.Thread(target=self._inbox.put, args=(m,), daemon=True).start()
                return
            self.fail(m, OVERLOADED, f"queue of {self._inbox.maxsize} messages is full")

    def _take(self, m: wire.Message | None) -> None:
        if m is None:
            return
        assert self.runner is not None
        if m.kind == wire.CANCEL:
            self._decisions.forget(m.id)
            self.runner.cancel(m.id)
            self._cancelled.add(m)
            return
        if self._cancelled.has(m):
            return
        try:
            self.runner.accept(m)
        except RequestError as e:
            self.fail(m, e.code, str(e))
            self.runner.cancel(m.id)
        except Exception as e:
            log.exception("request %s", m.id)
            self.fail(m, INTERNAL, f"{type(e).__name__}: {e}")
            self.runner.cancel(m.id)

    def drain(self) -> None:
        """Take all messages that are there. On rank 0, between steps, also by runners with steps inside."""
        try:
            for _ in range(self._inbox.maxsize):
                self._take(self._inbox.get_nowait())
        except queue.Empty:
            return

    # The loop

    def run(self) -> None:
        """Lead or follow until stop."""
        with torch.inference_mode():
            if self.group.rank == 0:
                self._lead()
            else:
                self._follow()

    def _lead(self) -> None:
        assert self.runner is not None
        while not self._stop.is_set():
            self.act()
            self.drain()
            with annotate(regions.SCHEDULE):
                plan = self.runner.plan()
                if plan is not None:
                    plan.step, plan.decided = self._step, self._decisions.of(plan.requests)
                    if self.group.size > 1:
                        self.group.share(plan.encode())
            if plan is None:
                self._wait()
                continue
            began = time.monotonic_ns()
            with regions.only_if(sampled(plan.requests, plan.decided)):
                result = self._execute(plan)
                self.runner.emit(plan, result, time.monotonic_ns() - began)
        if self.group.size > 1:
            self.group.share(Plan("stop").encode())

    def _wait(self) -> None:
        assert self.runner is not None
        reason = "input" if self.runner.pending() else "queue"
        m: wire.Message | None = None
        with annotate(regions.WAIT, reason=reason):
            try:
                m = self._inbox.get(timeout=IDLE_S)
            except queue.Empty:
                if self.group.size > 1:
                    self.group.share(Plan("").encode())
        self._take(m)

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.act()
            with annotate(regions.WAIT, reason="peer"):
                plan = decode_plan(self.group.share(None))
            if plan.kind == "stop":
                return
            if plan.kind:
                with regions.only_if(sampled(plan.requests, plan.decided)):
                    self._execute(plan)

    def _execute(self, plan: Plan) -> Any:
        assert self.runner is not None
        if plan.kind == "free":
            return self.runner.run(plan)
        if plan.kind == "generate":  # its steps are inside: the runner marks them
            return self.runner.run(plan)
        began = time.monotonic_ns()
        with self.region(plan.kind, plan.step, plan.requests, plan.tokens):
            result = self.runner.run(plan)
            self._platform.synchronize()  # what comes next reads the result anyway
        self.durations.observe(plan.kind, time.monotonic_ns() - began)
        self._step = plan.step + 1
        self.step_ended()
        return result

    def region(self, kind: str, step: int, requests: list[str], tokens: int = 0) -> _StepRegion:
        """The region of one step, with its requests."""
        return _StepRegion(kind, step, requests, tokens)

    def synchronize(self) -> None:
        """Wait for the device."""
        self._platform.synchronize()

    # What goes out

    def handoff(self, request: dict[str, Any], m: wire.Message) -> None:
        """Send m to the request's next stages in its route."""
        m.head |= {
            "kind": wire.HANDOFF,
            "id": request["id"],
            "from": self.stage.stage_id,
            "reply": request.get("reply", ""),
        }
        if m.chunk == 0:
            m.head["request"] = request
        for s in self.deployment.next(self.stage.stage_id):
            hop = next((h for h in request.get("route", []) if h.get("stage") == s.stage_id), None)
            if hop is None:
                continue
            flow = wire.flow(request["id"], self.stage.stage_id, s.stage_id, m.chunk)
            m.head |= {"flow": flow, "sent_ns": time.time_ns(), "host": self._host}
            with annotate(regions.HANDOFF_SEND, request=str(request["id"]), to_stage=s.stage_id) as region:
                region.flow_out = flow
                region.args["chunk"] = m.chunk
                data = m.encode()
                region.args["bytes"] = len(data)
                self._send(str(hop["subject"]), data)

    def hands_on(self, request: dict[str, Any]) -> bool:
        """Whether a later stage of the request's route takes this one's output."""
        route = {h.get("stage") for h in request.get("route", [])}
        return any(s.stage_id in route for s in self.deployment.next(self.stage.stage_id))

    def output(self, request: dict[str, Any], m: wire.Message) -> None:
        """Send m to the orchestrator."""
        m.head |= {"id": request["id"], "from": self.stage.stage_id}
        m.head.setdefault("kind", wire.OUTPUT)
        m.head.setdefault("chunk", 0)
        if request.get("reply"):
            self._send(str(request["reply"]), m.encode())

    def done(self, request: dict[str, Any], durations: dict[str, int]) -> None:
        """The stage has finished a request."""
        if self.handler is not None:
            self.handler.request()
        self._decisions.forget(str(request["id"]))
        self.output(request, wire.Message({"kind": wire.DONE, "durations": durations}))

    def fail(self, m: wire.Message, code: str, why: str) -> None:
        """Tell the orchestrator that the request of a message failed here."""
        request = m.request or {"id": m.id, "reply": m.head.get("reply", "")}
        self.fail_request(request, code, why)

    def fail_request(self, request: dict[str, Any], code: str, why: str) -> None:
        """Tell the orchestrator that a request failed here."""
        self._decisions.forget(str(request["id"]))
        text = f"stage {self.stage.stage_id} ({self.stage.stage_name}): {why}"
        self.output(request, wire.Message({"kind": wire.ERROR, "code": code, "reason": text}))

    def _send(self, to: str, data: bytes) -> None:
        assert self.rank is not None
        self.rank.publish(wire.from_sender(to, self._sender), data)

    def calls(self, method: str, args: dict[str, Any]) -> Any:
        """collective_rpc: beside the loop, and touches nothing of it."""
        if method == "ping":
            return "pong"
        if method == "durations":
            return self.durations.read()
        if method == "flight":
            return self._flight(args.get("on"))
        if method == "info":
            return {
                "stage": self.stage.stage_name,
                "rank": self.group.rank,
                "world_size": self.group.size,
                "device": str(self.device),
                "engine": "torch",
                "torch": str(torch.__version__),
                "recording": regions.recording(),
                "requests": self.runner.pending() if self.runner else 0,
                "steps": self._step,
            }
        raise ValueError(f"unknown method {method!r}: ping, info, durations or flight ({json.dumps(args)})")

    def _flight(self, on: object) -> bool:
        """Switch the flight recorder; the answer says whether it is on. Off, it forgets the past."""
        if not isinstance(on, bool):
            raise ValueError(f"flight: on is {on!r}: want true or false")
        if on != regions.keeps_past():
            regions.keep_past(self.stage.past_mb if on else 0)
        return regions.keeps_past()


class _StepRegion:
    """ProfilerStep#N, as torch's own tools look for it, and the step's name inside it."""

    def __init__(self, kind: str, step: int, requests: list[str], tokens: int) -> None:
        self._outer = annotate(f"ProfilerStep#{step}")
        args: dict[str, regions.Value] = {"step": step, "batch": len(requests)}
        if tokens:
            args["tokens"] = tokens
        if regions.recording():
            args["requests"] = ",".join(requests)
        self._inner = annotate(kind, **args)

    def __enter__(self) -> None:
        self._outer.__enter__()
        self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)
        self._outer.__exit__(*error)
