"""Record torch_cpu.json.gz and what torch itself says about it, torch_cpu_averages.json.

    python make_torch_cpu.py

Needs torch, no GPU. Two steps of a small convolutional model, forward and backward, on
one thread, with shapes, FLOPs and memory.
"""

import gzip
import json
import pathlib
import tempfile

import torch
from torch.profiler import ProfilerActivity, profile, record_function

HERE = pathlib.Path(__file__).parent


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.linear = torch.nn.Linear(8 * 16 * 16, 32)
        self.norm = torch.nn.LayerNorm(32)

    def forward(self, x):
        with record_function("front"):
            x = torch.relu(self.conv(x)).flatten(1)
        return self.norm(self.linear(x))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, x = Model(), torch.randn(4, 3, 32, 32)
    model(x).sum().backward()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True, profile_memory=True) as p:
        for _ in range(2):
            q = torch.randn(2, 4, 16, 8)
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
            model(x).sum().backward()
    with tempfile.TemporaryDirectory() as tmp:
        path = pathlib.Path(tmp) / "trace.json"
        p.export_chrome_trace(str(path))
        trace = json.loads(path.read_text())
    for key in ("traceName", "host_name", "trace_id", "INFO", "WARNING", "ERROR", "STAGE"):
        trace.pop(key, None)
    with open(HERE / "torch_cpu.json.gz", "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
        z.write(json.dumps(trace, separators=(",", ":")).encode())
    rows = {}
    for name, by_shape in (("by_name", False), ("by_shape", True)):
        rows[name] = [
            {
                "name": e.key,
                "count": e.count,
                "total_us": round(e.cpu_time_total, 3),
                "self_us": round(e.self_cpu_time_total, 3),
                "flops": e.flops,
                "self_bytes": e.self_cpu_memory_usage,
            }
            for e in p.key_averages(group_by_input_shape=by_shape)
            if e.key != "[memory]"
        ]
    (HERE / "torch_cpu_averages.json").write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
