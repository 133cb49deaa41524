"""llm stages: a causal language model of transformers with continuous batching.

A stage without sources is a thinker: it reads a prompt and makes text. One with a source is
a talker: it makes codec frames, each conditioned on the hidden state of a token of the stage
before, as the native stages do.
"""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinetoscope import regions, wire
from kinetoscope.regions import annotate
from kinetoscope.worker import text
from kinetoscope.worker.cache import Rows
from kinetoscope.worker.durations import HANDOFF
from kinetoscope.worker.loop import INTERNAL, OVERLOADED, Loop, Plan, RequestError
from kinetoscope.worker.shard import shard


@dataclass
class Sequence:
    """A request in the stage."""

    request: dict[str, Any]
    id: int
    max: int
    temperature: float
    top_k: int
    top_p: float
    ignore_eos: bool
    generator: torch.Generator
    arrived: int
    tokens: list[int] = field(default_factory=list)  # the prompt and all that was sampled
    prompt: int = 0
    fed: int = 0
    stop: list[str] = field(default_factory=list)
    stream: text.Stream | None = None
    text: str = ""
    sent: int = 0
    settled: int = 0
    out_chunk: int = 0
    hand_tokens: list[int] = field(default_factory=list)
    hand_hidden: list[torch.Tensor] = field(default_factory=list)
    hand_chunk: int = 0
    next_chunk: int = 0
    finish: str = ""
    durations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    # of a talker
    prompt_cond: list[torch.Tensor] = field(default_factory=list)
    cond: list[torch.Tensor] = field(default_factory=list)
    cond_final: bool = False

    @property
    def made(self) -> int:
        """Tokens sampled."""
        return len(self.tokens) - self.prompt


class LLM:
    """The runner of an llm stage."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.stage = loop, loop.stage
        self.talker = bool(self.stage.engine_input_source)
        self.model, self.config = self._load()
        self.cache = cache_name(self.model)
        self.vocab = int(self.config.vocab_size)
        self.max_len = min(
            self.stage.max_model_len, int(getattr(self.config, "max_position_embeddings", 1 << 30))
        )
        self.project: nn.Module | None = None
        dummy = self.stage.load_format == "dummy"
        if self.talker:
            ends = [t for t in (self.config.bos_token_id, self.config.eos_token_id) if isinstance(t, int)]
            self.suppress = list(range(min(ends, default=self.vocab), self.vocab))
            self.bos = min(ends, default=0)
        else:
            self.tokenizer = text.load(self.stage.model, self.vocab, dummy)
            self.suppress = self.tokenizer.suppress
        self.rows = Rows()
        self.by_id: dict[str, Sequence] = {}
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.free: list[int] = []
        self._next = 1

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForCausalLM

        st, device = self.stage, self.loop.device
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        torch.manual_seed(st.seed)
        if st.load_format == "dummy":
            path = Path(st.model)
            config = AutoConfig.from_pretrained(str(path) if path.exists() else st.model)
            # Every rank makes the same weights and keeps its part of them.
            model = AutoModelForCausalLM.from_config(config).to(dtype)
        else:
            model = AutoModelForCausalLM.from_pretrained(st.model, **{dtype_name(): dtype})
            config = model.config
        shard(model, config, self.loop.group)
        return model.to(device).eval(), config

    # Requests, on rank 0

    def pending(self) -> int:
        """Requests in the stage."""
        return len(self.by_id)

    def accept(self, m: wire.Message) -> None:
        """Take a submit or a hand-off."""
        q = self.by_id.get(m.id)
        if (request := m.request) is not None:
            if q is not None:
                raise RequestError(f"request id {m.id} is in use")
            if len(self.waiting) >= self.stage.max_queue:
                raise RequestError(f"{len(self.waiting)} requests wait already", OVERLOADED)
            q = self._open(request)
            self.by_id[m.id] = q
            self.waiting.append(q)
        if m.kind != wire.HANDOFF or q is None:
            return
        if m.chunk != q.next_chunk:
            raise RuntimeError(f"hand-off {q.next_chunk} was lost: got {m.chunk}")
        q.next_chunk += 1
        q.durations[HANDOFF] += m.took_ns
        self._condition(q, m)

    def _open(self, request: dict[str, Any]) -> Sequence:
        d, s = self.stage.default_sampling_params, {}
        if not self.talker:
            s = {k: v for k, v in (request.get("sampling") or {}).items() if v is not None}
        seed = d.seed
        given = (request.get("sampling") or {}).get("seed")
        if given is not None:
            seed = int(given) + self.stage.stage_id
        q = Sequence(
            request,
            self._next,
            max=int(s.get("max_tokens", d.max_tokens)),
            temperature=float(s.get("temperature", d.temperature)),
            top_k=int(s.get("top_k", d.top_k)),
            top_p=float(s.get("top_p", d.top_p)),
            ignore_eos=bool(d.ignore_eos or s.get("ignore_eos")),
            generator=torch.Generator(device="cpu").manual_seed(seed % (1 << 63)),
            arrived=time.monotonic_ns(),
            stop=[x for x in s.get("stop", []) if x],
        )
        self._next += 1
        if self.talker:
            return q
        q.tokens = self.tokenizer.encode(str(request.get("prompt", "")))
        q.prompt, q.stream = len(q.tokens), self.tokenizer.stream()
        if not q.prompt:
            raise RequestError("the prompt is empty")
        if q.prompt >= self.max_len:
            raise RequestError(
                f"prompt of {q.prompt} tokens is too long: the model takes {self.max_len} with the answer"
            )
        q.max = max(1, min(q.max, self.max_len - q.prompt))
        return q

    def _condition(self, q: Sequence, m: wire.Message) -> None:
        """A hand-off of hidden states: the first brings the prompt's."""
        own = int(m.head.get("prompt_tokens", 0)) if m.chunk == 0 else 0
        q.prompt_cond += m.tensors[:own]
        q.cond += m.tensors[own:]
        q.cond_final = m.final
        if m.chunk == 0:
            q.prompt_cond = q.prompt_cond[-self.max_len // 2 :]
            q.prompt = len(q.prompt_cond)
            if not q.prompt:
                raise RuntimeError("hand-off 0 brings no hidden states of the prompt")
            q.tokens = [self.bos] * q.prompt
            q.max = max(1, min(q.max, self.max_len - q.prompt))

    def cancel(self, request: str) -> None:
        """Forget a request; its cache goes with the next plan."""
        q = self.by_id.pop(request, None)
        if q is None:
            return
        if q in self.running:
            self.running.remove(q)
            self.free.append(q.id)
        elif q in self.waiting:
            self.waiting.remove(q)

    def _ready(self, q: Sequence) -> bool:
        if not self.talker:
            return True
        if not q.prompt_cond:
            return False
        return q.fed < q.prompt or self._cond(q, q.fed) is not None

    def _cond(self, q: Sequence, position: int) -> torch.Tensor | None:
        if position < q.prompt:
            return q.prompt_cond[position]
        i = (position - q.prompt) // self.stage.default_sampling_params.frames_per_token
        return q.cond[i] if i < len(q.cond) else None

    def plan(self) -> Plan | None:
        """Prefill goes before decode, and a step is one or the other so that its time is its own."""
        free, self.free = self.free, []
        for kind, seqs in ((regions.PREFILL, self._admit()), (regions.DECODE_STEP, self._decoding())):
            if seqs:
                return self._plan(kind, seqs, free)
        return Plan("free", body={"free": free}) if free else None

    def _admit(self) -> list[Sequence]:
        out: list[Sequence] = []
        budget = self.stage.max_num_batched_tokens
        for q in list(self.waiting):
            if len(self.running) >= self.stage.max_num_seqs or (out and q.prompt > budget):
                break
            if not self._ready(q):
                continue
            budget -= q.prompt
            q.durations["queue"] += time.monotonic_ns() - q.arrived
            self.waiting.remove(q)
            self.running.append(q)
            out.append(q)
        return out

    def _decoding(self) -> list[Sequence]:
        return [q for q in self.running if q.fed >= q.prompt and self._ready(q)]

    def _plan(self, kind: str, seqs: list[Sequence], free: list[int]) -> Plan:
        p = Plan(kind, [str(q.request["id"]) for q in seqs])
        items: list[dict[str, Any]] = []
        for q in seqs:
            tokens = q.tokens[q.fed :]
            item: dict[str, Any] = {"id": q.id, "tokens": tokens}
            if self.talker:
                conds = [c for i in range(q.fed, len(q.tokens)) if (c := self._cond(q, i)) is not None]
                item["cond"] = [len(p.tensors), len(p.tensors) + len(conds)]
                p.tensors += conds
            item["hidden"] = not self.talker and self.loop.hands_on(q.request)
            items.append(item)
            p.tokens += len(tokens)
        p.body = {"free": free, "seqs": items}
        return p

    # The model, on every rank

    def run(self, plan: Plan) -> Any:
        """One step; on every rank the logits of each sequence's last position and its hidden states."""
        self.rows.drop(set(plan.body.get("free", [])))
        seqs = plan.body.get("seqs", [])
        if not seqs:
            return None
        hidden = any(s["hidden"] for s in seqs)
        if plan.kind == regions.PREFILL:
            return [self._prefill(plan, s, hidden) for s in seqs]
        return self._decode(plan, seqs, hidden)

    def _inputs(self, plan: Plan, ids: torch.Tensor, seqs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if not self.talker:
            return {"input_ids": ids}
        embeds = self.model.get_input_embeddings()(ids)
        cond = torch.stack([t for s in seqs for t in plan.tensors[s["cond"][0] : s["cond"][1]]])
        cond = cond.to(embeds.device, embeds.dtype)
        return {"inputs_embeds": embeds + self._project(cond, embeds.shape[-1]).view(embeds.shape)}

    def _project(self, cond: torch.Tensor, size: int) -> torch.Tensor:
        """Hidden states of the stage before at the size of this model: a fixed random projection."""
        if cond.shape[-1] == size:
            return cond
        if self.project is None:
            g = torch.Generator().manual_seed(self.stage.seed)
            weight = torch.randn(size, cond.shape[-1], generator=g) / cond.shape[-1] ** 0.5
            self.project = nn.Linear(cond.shape[-1], size, bias=False)
            self.project.weight = nn.Parameter(weight, requires_grad=False)
            self.project.to(cond.device, cond.dtype)
        out: torch.Tensor = self.project(cond)
        return out

    def _prefill(
        self, plan: Plan, s: dict[str, Any], hidden: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        ids = torch.tensor([s["tokens"]], device=self.loop.device)
        out = self.model(
            **self._inputs(plan, ids, [s]), use_cache=True, output_hidden_states=hidden, logits_to_keep=1
        )
        self.rows.add(s["id"], getattr(out, self.cache))
        return out.logits[0, -1], out.hidden_states[-1][0] if hidden else None

    def _decode(
        self, plan: Plan, seqs: list[dict[str, Any]], hidden: bool
    ) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        cache, mask, positions, rows = self.rows.batch([s["id"] for s in seqs])
        ids = torch.tensor([s["tokens"] for s in seqs], device=self.loop.device)
        out = self.model(
            **self._inputs(plan, ids, seqs),
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            output_hidden_states=hidden,
            **{self.cache: cache},
        )
        self.rows.extend(getattr(out, self.cache), rows)
        last = out.hidden_states[-1] if hidden else None
        return [(out.logits[i, -1], last[i] if last is not None else None) for i in range(len(seqs))]

    # What a step made, on rank 0

    def emit(self, plan: Plan, result: Any, ns: int) -> None:
        """Sample and hand on."""
        if result is None:
            return
        seqs = {q.id: q for q in self.running}
        with annotate(regions.SAMPLE, batch=len(result)):
            picked = [
                self._sample(seqs[s["id"]], r[0]) for s, r in zip(plan.body["seqs"], result, strict=True)
            ]
        for s, (_, hidden), token in zip(plan.body["seqs"], result, picked, strict=True):
            q = seqs[s["id"]]
            q.durations[plan.kind] += ns
            if s["hidden"] and hidden is not None:
                q.hand_hidden += list(hidden.unbind(0))
            q.fed += len(s["tokens"])
            try:
                if self.talker:
                    self._frame(q, token)
                else:
                    self._token(q, token)
            except wire.FrameError as e:
                self.loop.fail_request(q.request, INTERNAL, str(e))
                self.cancel(str(q.request["id"]))

    def _sample(self, q: Sequence, logits: torch.Tensor) -> int:
        x = logits.float().cpu().clone()
        x[self.suppress] = -torch.inf
        if q.ignore_eos and not self.talker and self.tokenizer.eos is not None:
            x[self.tokenizer.eos] = -torch.inf
        if q.temperature <= 0:
            return int(x.argmax())
        x /= q.temperature
        if 0 < q.top_k < len(x):
            x[x < x.topk(q.top_k).values[-1]] = -torch.inf
        probs = x.softmax(0)
        if q.top_p < 1:
            ordered, at = probs.sort(descending=True)
            probs[at[ordered.cumsum(0) - ordered >= q.top_p]] = 0
        return int(torch.multinomial(probs, 1, generator=q.generator))

    def _token(self, q: Sequence, token: int) -> None:
        """A token of a thinker: as text, as a hand-off, as the end."""
        q.tokens.append(token)
        q.hand_tokens.append(token)
        assert q.stream is not None
        if token == self.tokenizer.eos:
            q.finish = "stop"
        else:
            q.text += q.stream.push(token)
            if q.made >= q.max:
                q.finish = "length"
        if q.finish:
            q.text += q.stream.flush()
        self._send_text(q)
        if self.loop.hands_on(q.request) and (
            q.finish or q.hand_chunk == 0 or len(q.hand_tokens) >= self.stage.handoff_chunk
        ):
            self._hand_on(q)
        if q.finish:
            self._end(q)

    def _send_text(self, q: Sequence) -> None:
        """Send what cannot become part of a stop string any more."""
        until, stopped = text.settled(q.text, q.settled, q.stop, last=bool(q.finish))
        q.settled = until
        if stopped:
            q.finish = "stop"
        if (until <= q.sent and not q.finish) or not self.stage.final_output:
            return
        head: dict[str, Any] = {
            "type": self.stage.final_output_type,
            "chunk": q.out_chunk,
            "final": bool(q.finish),
            "new_tokens": q.made,
            "text": q.text[q.sent : until] if until > q.sent else "",
        }
        q.sent = max(q.sent, until)
        if q.finish:
            head |= {"reason": q.finish, "prompt_tokens": q.prompt}
        q.out_chunk += 1
        self.loop.output(q.request, wire.Message(head))

    def _hand_on(self, q: Sequence) -> None:
        head: dict[str, Any] = {"chunk": q.hand_chunk, "final": bool(q.finish), "tokens": q.hand_tokens}
        tensors = q.hand_hidden
        if q.hand_chunk == 0:
            # The state that predicted the first token is the prompt's last: it conditions
            # that token's frames.
            head["prompt_tokens"] = max(1, q.prompt - 1)
            if q.prompt == 1:
                tensors = [tensors[0], *tensors]
        self.loop.handoff(q.request, wire.Message(head, list(tensors)))
        q.hand_chunk += 1
        q.hand_tokens, q.hand_hidden = [], []

    def _frame(self, q: Sequence, token: int) -> None:
        """A codec token of a talker."""
        q.tokens.append(token)
        q.hand_tokens.append(token)
        per = self.stage.default_sampling_params.frames_per_token
        if q.cond_final and q.made >= len(q.cond) * per:
            q.finish = "stop"
        elif q.made >= q.max:
            q.finish = "length"
        if q.finish or len(q.hand_tokens) >= self.stage.handoff_chunk:
            head = {"chunk": q.hand_chunk, "final": bool(q.finish), "tokens": q.hand_tokens}
            self.loop.handoff(q.request, wire.Message(head))
            q.hand_chunk += 1
            q.hand_tokens = []
        if q.finish:
            self._end(q)

    def _end(self, q: Sequence) -> None:
        self.loop.done(q.request, dict(q.durations))
        self.cancel(str(q.request["id"]))


def dtype_name() -> str:
    """What from_pretrained calls the weights' type: transformers 4.56 renamed it."""
    from transformers import __version__

    major, minor = (int(n) for n in __version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def cache_name(model: Any) -> str:
    """What a model calls its cache, as an argument and in its output: transformers renames it."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
