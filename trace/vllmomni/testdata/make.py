"""Writes events as vLLM-Omni's concurrency trace does (json.dumps of sorted fields, a line each): two requests on
their way through two stages, of which the second serves one at a time. Run it in this directory. monitor.json is
what the monitor of release 0.30 writes for five windows of a clock that a test holds."""

import json

T0 = 1_790_000_000.0


def line(ms, event, pid=100, **fields):
    fields |= {"event": event, "pid": pid, "run_id": "run-1", "ts_unix_s": T0 + ms / 1e3, "ts_monotonic_s": 50 + ms / 1e3}
    return json.dumps(fields, sort_keys=True) + "\n"


with open("concurrency.jsonl", "w") as f:
    f.write(line(0, "stage_config", stage_id=0, max_num_seqs=8, devices="0"))
    f.write(line(10, "batch_composition_changed", stage_id=0, batch_size=2, scheduled_tokens=64))
    f.write(line(100, "stage_completed", stage_id=0, request_id="a", stage_gen_time_ms=90.0, batch_size=2))
    f.write(line(101, "stage1_input_ready", request_id="a"))
    f.write(line(102, "tts_slot_started", pid=200, request_id="a"))
    f.write(line(120, "stage_completed", stage_id=0, request_id="b", stage_gen_time_ms=110.0, batch_size=1))
    f.write(line(130, "gpu_sample", gpu_index=0, gpu_utilization_pct=71, memory_used_bytes=2**30))
    f.write(line(131, "prometheus_sample", metric="vllm:num_requests_waiting", labels={"stage": "1"}, value=1.0))
    f.write(line(200, "tts_slot_completed", pid=200, request_id="a", outcome="ok"))
    f.write(line(201, "stage_completed", pid=200, stage_id=1, request_id="a", stage_gen_time_ms=98.0, batch_size=1))
    f.write(line(202, "tts_slot_started", pid=200, request_id="b"))
    f.write(line(203, "request_completed", request_id="a", e2e_total_ms=195.0))
    f.write("{cut")
