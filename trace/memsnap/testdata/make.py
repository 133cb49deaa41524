"""Pickles a dict in the shape of torch.cuda.memory._snapshot(), as torch.cuda.memory._dump_snapshot does. No card is
needed; the numbers are made up. Run it in this directory."""

import pickle

T0 = 1_790_000_000_000_000


def frames(*list_):
    return [{"filename": f, "line": n, "name": name} for f, n, name in list_]


linear = frames(
    ("??", 0, "c10::cuda::CUDACachingAllocator::malloc"),
    ("/env/torch/nn/modules/linear.py", 125, "forward"),
    ("/work/model.py", 12, "forward"),
)
cache = frames(("/work/kv; cache.py", 7, "grow"), ("/work/model.py", 30, "decode"))
KIB, MIB = 1024, 1 << 20
BASE = 0x7F00_0000_0000


def entry(us, action, addr, size, stack):
    return {"action": action, "addr": addr, "size": size, "stream": 0, "time_us": T0 + us, "frames": stack}


trace = [
    entry(0, "segment_alloc", BASE, 20 * MIB, linear),
    entry(0, "alloc", BASE, 512 * KIB, linear),
    entry(0, "alloc", BASE + MIB, 2 * MIB, cache),
    entry(900, "free_requested", BASE, 512 * KIB, linear),
    entry(900, "free_completed", BASE, 512 * KIB, linear),
    entry(1000, "free_completed", BASE - 4096, 4096, []),  # was there before the history begins
    {"action": "oom", "device_free": 77, "size": 1 << 40, "stream": 0, "time_us": T0 + 1500, "frames": linear},
    entry(2000, "snapshot", 0, 0, []),
]
snapshot = {
    "segments": [
        {
            "device": 1,
            "address": BASE,
            "total_size": 20 * MIB,
            "allocated_size": 2 * MIB,
            "active_size": 2 * MIB,
            "requested_size": 2 * MIB,
            "stream": 0,
            "segment_type": "large",
            "segment_pool_id": (0, 0),
            "is_expandable": False,
            "frames": linear,
            "blocks": [
                {"address": BASE, "size": MIB, "requested_size": 0, "state": "inactive", "frames": []},
                {
                    "address": BASE + MIB,
                    "size": 2 * MIB,
                    "requested_size": 2 * MIB,
                    "state": "active_allocated",
                    "frames": cache,
                },
                {"address": BASE + 3 * MIB, "size": 17 * MIB, "requested_size": 0, "state": "inactive", "frames": []},
            ],
        }
    ],
    "device_traces": [[], trace],
    "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "expandable_segments": False},
    "external_annotations": [],
}
with open("snapshot.pickle", "wb") as out:
    pickle.dump(snapshot, out)
