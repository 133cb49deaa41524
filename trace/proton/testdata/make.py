"""Writes files as Triton's Proton does. scopes.hatchet and scopes.msgpack are made by Proton itself (pip install triton)
without a card: host scopes with the user's metrics. kernels.hatchet and chrome.json follow the source of its writers, for
kernels need a card. Run it in this directory: python make.py [definition]"""

import json
import sys
import time


def real():
    from triton._C.libproton import proton

    try:  # the first session looks for a card's library and fails, the next one is a session of the host
        proton.start("none", "shadow", "tree", "roctracer", "")
    except RuntimeError:
        pass
    session = proton.start("scopes", "shadow", "tree", "roctracer", "")

    def enter(name):
        scope = proton.record_scope()
        proton.enter_scope(scope, name)
        return scope

    step = enter("step")
    for _ in range(3):
        decode = enter("decode")
        time.sleep(0.001)
        proton.add_metrics(decode, {"cpu_time (ns)(exc)": 1_234_567, "flops": 1e9, "bytes": 77})
        attn = enter("attn")
        proton.add_metrics(attn, {"cpu_time (ns)(exc)": 2_000_000})
        proton.exit_scope(attn, "attn")
        proton.exit_scope(decode, "decode")
    sample = enter("sample")
    proton.exit_scope(sample, "sample")
    proton.exit_scope(step, "step")
    with open("scopes.hatchet", "w") as out:
        out.write(proton.get_data(session, 0))
    with open("scopes.msgpack", "wb") as out:
        out.write(proton.get_data_msgpack(session, 0))


def frame(name, metrics, *children):
    return {"children": list(children), "frame": {"name": name, "type": "function"}, "metrics": metrics}


def kernel(name, ns, count, **more):
    metrics = {"count": count, "device_id": "0", "device_type": "CUDA", "time (ns)": ns} | more
    return frame(name, metrics)


def definition():
    tree = frame(
        "ROOT",
        {"count": 0, "time (ns)": 0},
        frame(
            "prefill",
            {"flops": 2.5e12},
            kernel("flash_fwd", 900_001, 2, **{"flops16": 1e12}),
            kernel("gemm", 500_000, 4),
        ),
        frame("decode", {}, frame("layer", {}, kernel("gemm", 100_000, 100), kernel("norm", 3000, 50))),
        kernel("memset", 700, 1, device_id="1"),
    )
    device = {"arch": "90", "bus_width": 5120, "clock_rate": 1980000, "memory_clock_rate": 2619000, "num_sms": 132}
    with open("kernels.hatchet", "w") as out:
        json.dump([tree, {"CUDA": {"0": device, "1": device}}], out, separators=(",", ":"), sort_keys=True)
    with open("chrome.json", "w") as out:
        json.dump({"displayTimeUnit": "us", "traceEvents": chrome()}, out, separators=(",", ":"), sort_keys=True)
        out.write("\n")


def chrome():
    events = [
        {"ph": "M", "pid": 0, "tid": 0, "name": "process_name", "args": {"name": "Trace"}},
        {"ph": "M", "pid": 0, "tid": 0, "name": "process_sort_index", "args": {"sort_index": 0}},
    ]
    for tid, name in ((0, "CPU Thread 0"), (100007, "Graph: Stream 7"), (200007, "GPU Stream 7")):
        events.append({"ph": "M", "pid": 0, "tid": tid, "name": "thread_name", "args": {"name": name}})
        events.append({"ph": "M", "pid": 0, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}})

    def slice_(name, cat, tid, ts, dur, stack, **args):
        args = {"call_stack": stack, **args} if stack else args
        e = {"name": name, "cat": cat, "ph": "X", "pid": 0, "tid": tid, "ts": ts, "dur": dur}
        events.append(e | ({"args": args} if args else {}))

    slice_("step", "scope", 0, 0.0, 400.0, ["ROOT", "step"])
    slice_(
        "decode: <bytes, 77>, <flops, 1000000000.000000>",
        "metric",
        0,
        5.0,
        100.25,
        ["ROOT", "step", "decode"],
        metrics={"bytes": "77", "flops": "1000000000.000000"},
    )
    slice_("gemm", "scope", 0, 10.0, 8.5, ["ROOT", "step", "decode", "gemm"])
    slice_("graph_launch", "scope", 0, 120.0, 30.0, ["ROOT", "step", "graph_launch"])
    slice_("<captured_at>", "scope", 100007, 200.0, 61.0, None)
    slice_("layer", "scope", 100007, 200.0, 61.0, None)
    for id_, begin, end in ((3, 10.0, 60.0), (5, 120.0, 200.0)):
        arrow = {"name": "launch->kernel", "cat": "flow", "pid": 0, "id": id_, "bp": "e"}
        events.append(arrow | {"ph": "s", "tid": 0, "ts": begin})
        events.append(arrow | {"ph": "f", "tid": 200007, "ts": end})
    slice_("gemm", "kernel", 200007, 60.0, 40.125, ["ROOT", "step", "decode", "gemm"], metrics={})
    for ts, name in ((200.0, "flash_fwd"), (230.0, "gemm")):
        stack = ["ROOT", "step", "graph_launch", "<captured_at>", "layer", name]
        slice_(name, "kernel", 200007, ts, 29.0, stack)
    return events


if "definition" not in sys.argv:
    real()
definition()
