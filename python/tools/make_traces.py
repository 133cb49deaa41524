"""Make small traces of real torch on the CPU, as test data for trace readers.

    python tools/make_traces.py ../trace/kineto/testdata

writes torch_*.json.gz, each below 60 KiB: what this torch writes for operators with shapes,
stacks, memory and FLOPs, for two gloo ranks, and for a session of kinetoscope with regions,
their arguments and hand-offs of another thread.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from kinetoscope import ProfilerConfig, TorchProfiler, annotate
from kinetoscope.protocol import RankInfo

LIMIT = 60 << 10


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)).eval()


def plain(to: Path, **options: Any) -> None:
    """torch.profiler alone."""
    m = model()
    with torch.no_grad():
        m(torch.randn(2, 16))
        with profile(activities=[ProfilerActivity.CPU], **options) as prof:
            for _ in range(4):
                with record_function("decode_step"):
                    m(torch.randn(2, 16))
                prof.step()
    pack(prof, to)


def training(to: Path) -> None:
    """Forward, backward and an optimizer, with their links."""
    m = model().train()
    optimizer = torch.optim.AdamW(m.parameters())
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        for _ in range(2):
            optimizer.zero_grad()
            m(torch.randn(4, 16)).square().mean().backward()
            optimizer.step()
    pack(prof, to)


def pack(prof: Any, to: Path) -> None:
    with tempfile.TemporaryDirectory() as d:
        raw = Path(d) / "trace.json"
        prof.export_chrome_trace(str(raw))
        write(raw.read_bytes(), to)


def write(text: bytes, to: Path) -> None:
    """Keep what a reader reads; drop the names of this machine."""
    text = re.sub(rb'"host_name": "[^"]*"', b'"host_name": "host"', text)
    text = re.sub(rb'"traceName": "[^"]*"', b'"traceName": "trace.json"', text)
    text = re.sub(rb"/[\w./-]*/(?=(?:site-packages|lib|src|tools)/)", b"", text)
    with to.open("wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(text)
    size = to.stat().st_size
    if size > LIMIT:
        raise SystemExit(f"{to} has {size} bytes, at most {LIMIT} are wanted")
    print(f"{to}: {size} bytes")


def _gloo(rank: int, store: str, directory: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    t = torch.ones(64)
    dist.all_reduce(t)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        for _ in range(3):
            with record_function("decode_step"):
                dist.all_reduce(t.mul_(0.5))
                dist.all_gather([torch.empty(64) for _ in range(2)], t)
                dist.broadcast(t, 0)
    pack(prof, Path(directory) / f"torch_gloo_rank{rank}.json.gz")
    dist.destroy_process_group()


def gloo(directory: Path) -> None:
    """Two ranks with collectives."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as d:
        ranks = [context.Process(target=_gloo, args=(r, f"{d}/store", str(directory))) for r in range(2)]
        for r in ranks:
            r.start()
        for r in ranks:
            r.join()
            if r.exitcode:
                raise SystemExit(f"a rank ended with {r.exitcode}")


def session(to: Path) -> None:
    """What a torch rank of a session leaves."""
    m = model()
    config = ProfilerConfig(
        profiler="torch", torch_profiler_record_shapes=True, torch_profiler_with_stack=False
    )
    info = RankInfo("omni", 1, 0, 1, stage_name="talker", stage_type="llm", world_size=2)
    prof = TorchProfiler(config, info=info, derive=False)
    directory = Path(tempfile.mkdtemp())
    prof.prepare(directory)
    prof.open()

    def receive() -> None:
        with annotate("handoff.recv", request="a", from_stage=0, chunk=0, bytes=128) as region:
            region.flow_in = 41

    other = threading.Thread(target=receive)
    other.start()
    other.join()
    with torch.no_grad():
        for i in range(4):
            with annotate(f"ProfilerStep#{i}"), annotate("decode_step", step=i, batch=2, requests="a,b"):
                m(torch.randn(2, 16))
            with annotate("handoff.send", request="a", to_stage=2, chunk=i) as region:
                region.flow_out = 100 + i
    prof.close()
    prof.export()
    write(gzip.decompress((directory / "trace.json.gz").read_bytes()), to)
    shutil.rmtree(directory)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args(argv).directory
    torch.set_num_threads(1)
    plain(directory / "torch_ops.json.gz")
    plain(
        directory / "torch_shapes_memory_flops.json.gz",
        record_shapes=True,
        profile_memory=True,
        with_flops=True,
    )
    plain(directory / "torch_stack.json.gz", with_stack=True)
    training(directory / "torch_training.json.gz")
    gloo(directory)
    session(directory / "torch_session.json.gz")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
