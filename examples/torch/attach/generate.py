"""A program of its own that generates text and can be profiled while it does, in two lines.

    kinetoscope capture --attach -- python generate.py

records it from its start to its end; `kinetoscope serve --attach` starts and stops recordings
while it runs. The model is a small Llama with random weights: nothing is downloaded.
"""

from __future__ import annotations

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import kinetoscope

REQUESTS, TOKENS = 4, 16


def main(rounds: int) -> None:
    kinetoscope.attach(stage="llama")
    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=1000,
    )
    model = LlamaForCausalLM(config).eval()
    step = 0
    for n in range(rounds):
        ids = torch.randint(0, 1000, (REQUESTS, 32))
        requests = ",".join(f"r{n}-{i}" for i in range(REQUESTS))
        for phase in ("prefill", *["decode_step"] * TOKENS):
            with (
                torch.inference_mode(),
                kinetoscope.annotate(phase, step=step, batch=REQUESTS, requests=requests),
            ):
                logits = model(ids).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
            kinetoscope.step()
            step += 1
    print(f"{rounds * REQUESTS} requests, {step} steps")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
