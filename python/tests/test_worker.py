from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fakes import Sent
from torch import nn

from kinetoscope import wire
from kinetoscope.worker import generation, llm, text
from kinetoscope.worker.cache import Rows
from kinetoscope.worker.group import Group, _share_a_card
from kinetoscope.worker.loop import Loop, Plan, RequestError, decode_plan
from kinetoscope.worker.options import ENV, Deployment, Options, Stage, deployment, options
from kinetoscope.worker.shard import shard


def tiny() -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=272,
        bos_token_id=256,
        eos_token_id=257,
        max_position_embeddings=128,
    )
    torch.manual_seed(1)
    return transformers.LlamaForCausalLM(config).eval()


def test_options_of_the_supervisor_and_of_a_hand() -> None:
    o = options([], {ENV: json.dumps({"NATS": "n", "Pipeline": "p", "Stage": 1, "Rank": 2, "Token": "t"})})
    assert (o.nats, o.pipeline, o.stage, o.rank, o.token, o.supervised) == ("n", "p", 1, 2, "t", True)
    o = options(["--nats", "n", "--pipeline", "p", "--stage", "3"], {})
    assert (o.stage, o.rank, o.supervised) == (3, 0, False)


def test_deployment_keeps_to_what_it_knows() -> None:
    d = deployment(
        json.dumps(
            {
                "name": "p",
                "stages": [{"stage_id": 0, "later": 1}, {"stage_id": 1, "engine_input_source": [0]}],
            }
        ).encode()
    )
    assert [s.stage_id for s in d.next(0)] == [1]
    with pytest.raises(ValueError, match="stages"):
        deployment(b"{}")


def greedy(model: Any, prompt: list[int], n: int) -> list[int]:
    """The tokens that a model makes without any cache."""
    ids = list(prompt)
    for _ in range(n):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_a_batch_makes_what_each_sequence_makes_alone() -> None:
    model = tiny()
    name = llm.cache_name(model)
    prompts = {1: [5, 6, 7], 2: [9] * 12, 3: [200, 3]}
    with torch.inference_mode():
        want = {s: greedy(model, p, 8) for s, p in prompts.items()}
        rows, got = Rows(), {s: [] for s in prompts}  # type: ignore[var-annotated]

        def prefill(s: int) -> None:
            out = model(torch.tensor([prompts[s]]), use_cache=True)
            rows.add(s, getattr(out, name))
            got[s].append(int(out.logits[0, -1].argmax()))

        def decode(seqs: list[int]) -> None:
            cache, mask, positions, at = rows.batch(seqs)
            ids = torch.tensor([[got[s][-1]] for s in seqs])
            out = model(ids, attention_mask=mask, position_ids=positions, use_cache=True, **{name: cache})
            rows.extend(getattr(out, name), at)
            for i, s in enumerate(seqs):
                got[s].append(int(out.logits[i, -1].argmax()))

        prefill(1)
        decode([1])
        prefill(2)
        prefill(3)
        decode([2])  # a part of the batch, as when the others wait for their input
        decode([3, 1])
        decode([1, 2, 3])
        rows.drop({2})
        assert rows.lens == [len(prompts[1]) + 3, len(prompts[3]) + 2]
        decode([1, 3])
    for s, tokens in got.items():
        assert tokens == want[s][: len(tokens)], s
    assert len(got[1]) == 5


def test_sequences_that_come_and_go_empty_the_cache() -> None:
    model, rows = tiny(), Rows()
    with torch.inference_mode():
        rows.add(1, getattr(model(torch.tensor([[1, 2]]), use_cache=True), llm.cache_name(model)))
    rows.drop({7})
    assert rows.ids == [1]
    rows.drop({1})
    assert (rows.ids, rows._layers) == ([], [])


def _rank(rank: int, size: int, store: str, out: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    model = tiny()
    group = Group(rank, size, dist.group.WORLD)
    n = shard(model, model.config, group)
    with torch.inference_mode():
        logits = model(torch.tensor([[5, 6, 7]])).logits
    shared = group.share(b"plan" * 1000 if rank == 0 else None)
    gathered = group.gather(torch.tensor([rank]))
    over_host = Group(rank, size, dist.group.WORLD, through_host=True)
    assert int(over_host.sum(torch.tensor(rank + 1))) == 3
    assert [int(x) for x in over_host.gather(torch.tensor(rank + 1))] == [1, 2]
    out.put((rank, n, logits.numpy(), shared == b"plan" * 1000, [int(t) for t in gathered]))
    out.close()
    out.join_thread()
    group.close()


def test_two_ranks_make_what_one_makes(tmp_path: Path) -> None:
    model = tiny()
    with torch.inference_mode():
        want = model(torch.tensor([[5, 6, 7]])).logits
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    ranks = [context.Process(target=_rank, args=(r, 2, str(tmp_path / "store"), out)) for r in range(2)]
    for r in ranks:
        r.start()
    got = sorted(out.get(timeout=240) for _ in ranks)
    for r in ranks:
        r.join()
    for rank, n, logits, same, gathered in got:
        assert n == 2 * 7
        torch.testing.assert_close(torch.from_numpy(logits), want, rtol=1e-4, atol=1e-4)
        assert same
        assert gathered == [0, 1]
        assert rank in (0, 1)


def cards(*names: str) -> list[bool]:
    """What ranks on these cards find out about each other."""
    store = dist.HashStore()
    found: list[bool] = [False] * len(names)

    def ask(rank: int) -> None:
        found[rank] = _share_a_card(store, rank, len(names), names[rank])

    ranks = [threading.Thread(target=ask, args=(r,)) for r in range(len(names))]
    for t in ranks:
        t.start()
    for t in ranks:
        t.join()
    return found


def test_ranks_know_that_they_share_a_card() -> None:
    assert cards("cuda GPU-1", "cuda GPU-2") == [False, False]
    assert cards("cuda GPU-1", "cuda GPU-2", "cuda GPU-1") == [True, True, True]
    assert cards("", "") == [False, False]  # the CPU is for all


def test_an_architecture_that_cannot_be_cut_says_so() -> None:
    with pytest.raises(ValueError, match="tensor_parallel_size 1"):
        shard(nn.Sequential(nn.Linear(2, 2)), object(), Group(0, 2))
    model = tiny()
    with pytest.raises(ValueError, match="num_attention_heads = 4"):
        shard(model, model.config, Group(0, 3))


def test_bytes_come_back_as_text() -> None:
    t = text.ByteTokenizer(272, dummy=False)
    s = t.stream()
    tokens = t.encode("naïve ⚙")
    assert "".join(s.push(x) for x in tokens) + s.flush() == "naïve ⚙"
    half = t.stream()
    assert half.push(tokens[2]) == ""
    assert half.flush() == "\ufffd"
    assert 65 not in text.ByteTokenizer(272, dummy=True).suppress
    with pytest.raises(ValueError, match="258"):
        text.ByteTokenizer(100, dummy=True)


@pytest.mark.parametrize(
    ("a", "stop", "n"), [("abc", "cd", 1), ("abc", "abcd", 3), ("abc", "x", 0), ("", "x", 0)]
)
def test_overlap(a: str, stop: str, n: int) -> None:
    assert text.overlap(a, stop) == n


def test_text_goes_out_up_to_the_first_stop_string() -> None:
    rng = random.Random(1)
    for _ in range(5000):
        whole = "".join(rng.choice("ab") for _ in range(rng.randrange(12)))
        stops = [
            "".join(rng.choice("ab") for _ in range(rng.randrange(1, 5))) for _ in range(rng.randrange(3))
        ]
        # The stop string that is complete first ends the text, where the first of those begins.
        ends = [n for n in range(1, len(whole) + 1) if any(s in whole[:n] for s in stops)]
        begins = [whole[: ends[0]].find(s) for s in stops] if ends else []
        want = min((at for at in begins if at >= 0), default=len(whole))
        got = start = 0
        for n in range(1, len(whole) + 1):
            start, stopped = text.settled(whole[:n], start, stops, last=n == len(whole))
            assert got <= start <= want  # what is sent stays sent
            got = start
            if stopped:
                break
        assert got == want, (whole, stops)


def test_plans_survive_the_way_to_the_other_ranks() -> None:
    p = Plan("prefill", ["a"], {"seqs": [{"id": 1}]}, [torch.tensor([1.0, 2.0])], 3, 4)
    got = decode_plan(p.encode())
    assert (got.kind, got.requests, got.body, got.tokens, got.step) == ("prefill", ["a"], p.body, 3, 4)
    assert torch.equal(got.tensors[0], p.tensors[0])


def double(chunk: generation.Chunk) -> torch.Tensor | None:
    if not chunk.tokens:
        raise ZeroDivisionError("nothing to divide")
    chunk.state["n"] = chunk.state.get("n", 0) + 1
    return torch.full((chunk.state["n"],), 0.5)


double.sample_rate = 8000  # type: ignore[attr-defined]


def vocoder(**fields: Any) -> tuple[Loop, generation.Generation, Sent]:
    stage = Stage.from_dict(
        {
            "stage_id": 1,
            "stage_type": "generation",
            "model": f"{__name__}:double",
            "final_output": True,
            "final_output_type": "audio",
            "engine_input_source": [0],
        }
        | fields
    )
    loop = Loop(
        Options("n", "p", 1),
        Deployment("p", [Stage(), stage]),
        stage,
        Group(0, 1),
        torch.device("cpu"),
        threading.Event(),
    )
    sent = Sent()
    loop.rank = sent  # type: ignore[assignment]
    loop.runner = runner = generation.Generation(loop)
    return loop, runner, sent


def handoff(chunk: int, tokens: list[int], final: bool = False) -> wire.Message:
    head: dict[str, Any] = {"kind": "handoff", "id": "r", "chunk": chunk, "tokens": tokens, "final": final}
    if chunk == 0:
        head["request"] = {"id": "r", "reply": "inbox", "route": []}
    return wire.Message(head)


def step(runner: generation.Generation) -> None:
    plan = runner.plan()
    assert plan is not None
    runner.emit(plan, runner.run(plan), 5)


def test_the_flight_recorder_can_be_switched() -> None:
    plain, _, _ = vocoder()
    assert plain.calls("flight", {"on": True}) is False  # no profiler: deployed without
    loop, _, _ = vocoder(profiler_config={"profiler": "torch"})
    try:
        for on in (True, True, False, True):
            assert loop.calls("flight", {"on": on}) is on
        with pytest.raises(ValueError, match="want true or false"):
            loop.calls("flight", {})
    finally:
        assert loop.calls("flight", {"on": False}) is False


def test_a_callable_makes_sound_chunk_by_chunk() -> None:
    _, runner, sent = vocoder()
    runner.accept(handoff(0, [1, 2]))
    step(runner)
    assert runner.plan() is None  # nothing to do before the next hand-off
    runner.accept(handoff(1, [3], final=True))
    step(runner)
    kinds = [m.kind for m in sent.messages]
    assert kinds == ["output", "output", "done"]
    first, last, done = sent.messages
    assert (first.head["sample_rate"], len(first.blobs[0]), last.final) == (8000, 2, True)
    assert len(last.blobs[0]) == 4  # its state was kept
    assert done.head["durations"] == {"handoff": 0, "vocode": 10}
    assert runner.pending() == 0
    step(runner)  # forgets the state
    assert runner.states == {}


def test_a_callable_that_raises_fails_its_request_only() -> None:
    _, runner, sent = vocoder()
    runner.accept(handoff(0, []))
    step(runner)
    assert [m.kind for m in sent.messages] == ["error"]
    assert "ZeroDivisionError: nothing to divide" in sent.messages[0].head["reason"]
    assert runner.pending() == 0


def test_a_lost_handoff_and_a_full_stage() -> None:
    _, runner, _ = vocoder(max_queue=1)
    runner.accept(handoff(0, [1]))
    with pytest.raises(RuntimeError, match="hand-off 1 was lost"):
        runner.accept(handoff(2, [1]))
    other = handoff(0, [1])
    other.head |= {"id": "q", "request": {"id": "q"}}
    with pytest.raises(RequestError, match="already") as e:
        runner.accept(other)
    assert e.value.code == "overloaded"


@pytest.mark.parametrize(
    ("spec", "why"),
    [("nothing", "module:function"), ("os:nothing", "has no"), ("missing.py:f", "no such file")],
)
def test_callables_that_are_not_there(spec: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        generation.find(spec)


def test_callables_of_modules_and_files(tmp_path: Path) -> None:
    assert generation.find("os.path:join") is os.path.join
    (tmp_path / "mine.py").write_text("def f(chunk):\n    return 'text'\n")
    assert generation.find(f"{tmp_path}/mine.py:f")(None) == "text"


def test_samples_are_clipped_and_whole() -> None:
    got = generation.pcm16(torch.tensor([0.0, 2.0, -2.0, float("nan")]))
    assert got == (0).to_bytes(2, "little") + (32767).to_bytes(2, "little") + (-32767).to_bytes(
        2, "little", signed=True
    ) + bytes(2)
