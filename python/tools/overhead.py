"""What a capture costs: a decode step's time with the profiler off, armed and recording.

The states take turns, step by step, so that whatever else the machine does falls on all
alike; the ratios of the medians count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from kinetoscope import ProfilerConfig, TorchProfiler, annotate
from kinetoscope.profiler import warm_up

ROUNDS, STEPS = 12, 10


def build(hidden: int, layers: int) -> Callable[[], None]:
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=4,
            vocab_size=1024,
        )
    ).eval()
    ids = torch.randint(0, 1000, (4, 1))

    def step() -> None:
        with torch.inference_mode(), annotate("decode_step", step=0, requests="a,b,c,d"):
            model(ids, use_cache=False)

    return step


def timed(step: Callable[[], None]) -> list[float]:
    out = []
    for _ in range(STEPS):
        began = time.perf_counter()
        step()
        out.append(time.perf_counter() - began)
    return out


def measure(step: Callable[[], None], config: ProfilerConfig) -> dict[str, float]:
    times: dict[str, list[float]] = {"off": [], "armed": [], "recording": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as d:
            prof = TorchProfiler(config, derive=False)
            times["off"] += timed(step)
            prof.prepare(Path(d))
            prof.warm()
            times["armed"] += timed(step)
            prof.open()
            times["recording"] += timed(step)
            prof.close()
            prof.export()
    return {k: statistics.median(v) * 1e3 for k, v in times.items()}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    a = parser.parse_args(argv)
    torch.set_num_threads(1)
    warm_up()
    step = build(a.hidden, a.layers)
    for _ in range(5):
        step()
    print(
        f"{'fields':28} {'off':>9} {'armed':>9} {'recording':>10}   (ms a step, median of {ROUNDS * STEPS})"
    )
    for name, fields in (
        ("stacks off", {"torch_profiler_with_stack": False}),
        ("defaults (stacks)", {}),
        (
            "stacks, shapes, memory",
            {"torch_profiler_record_shapes": True, "torch_profiler_with_memory": True},
        ),
    ):
        got = measure(step, ProfilerConfig.from_dict({"profiler": "torch"} | fields))
        ratios = " ".join(f"{got[k] / got['off']:.2f}x" for k in ("armed", "recording"))
        print(
            f"{name:28} {got['off']:9.2f} {got['armed']:9.2f} {got['recording']:10.2f}   {ratios}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
