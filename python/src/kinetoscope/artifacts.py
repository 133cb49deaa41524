"""Tables and stacks from a torch profile, as vLLM-Omni names and lays them out.

They walk all events in Python, which takes long and competes with whatever the process
serves. A rank of a session therefore leaves them to the hub, which makes the same files
from the trace; a profiler without a hub makes them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TABLE_ROWS = 100
# by_stack groups by this many frames.
STACK_FRAMES = 8

COLUMNS = (
    "name",
    "count",
    "device_type",
    "node_id",
    "self_cpu_time_total_us",
    "cpu_time_total_us",
    "self_cuda_time_total_us",
    "cuda_time_total_us",
    "self_xpu_time_total_us",
    "xpu_time_total_us",
    "self_cpu_memory_usage_bytes",
    "cpu_memory_usage_bytes",
    "self_cuda_memory_usage_bytes",
    "cuda_memory_usage_bytes",
    "self_xpu_memory_usage_bytes",
    "xpu_memory_usage_bytes",
    "input_shapes",
    "stack",
    "overload_name",
    "is_async",
    "is_legacy",
)


def write_table(prof: Any, path: Path, metric: str) -> None:
    """The operator table, sorted by metric (self_cuda_time_total with a card)."""
    text = prof.key_averages().table(sort_by=metric, row_limit=TABLE_ROWS)
    path.write_text(text, encoding="utf-8")


def write_stacks(prof: Any, path: Path, metric: str) -> int:
    """Folded stacks, root first, a line an event, metric in whole microseconds; how many there were."""
    clean = str.maketrans(" ;\t\n", "____")
    n = 0
    with path.open("w", encoding="utf-8") as f:
        for e in prof.events():
            value = int(getattr(e, metric, 0) or 0)
            if e.stack and value > 0:
                f.write(";".join(frame.translate(clean) for frame in reversed(e.stack)) + f" {value}\n")
                n += 1
    return n


def write_workbook(prof: Any, path: Path, *, shapes: bool, stacks: bool) -> bool:
    """The workbook with summary, by_shape and by_stack; False without openpyxl."""
    try:
        from openpyxl import Workbook
    except ImportError:
        return False
    book = Workbook(write_only=True)
    sheets: list[tuple[str, dict[str, Any]]] = [("summary", {})]
    if shapes:
        sheets.append(("by_shape", {"group_by_input_shape": True}))
    if stacks:
        sheets.append(("by_stack", {"group_by_stack_n": STACK_FRAMES}))
    for title, options in sheets:
        rows = [_row(e) for e in prof.key_averages(**options)]
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "A2"
        sheet.auto_filter.ref = f"A1:{_letter(len(COLUMNS))}{len(rows) + 1}"
        sheet.append(list(COLUMNS))
        for row in rows:
            sheet.append(row)
    book.save(path)
    return True


def _letter(n: int) -> str:
    return chr(ord("A") + n - 1)  # COLUMNS are fewer than 26


def _row(e: Any) -> list[Any]:
    # torch calls every device's columns "device"; the workbook has one set a kind.
    kind = getattr(e, "use_device", None)

    def device(name: str, want: str) -> Any:
        return getattr(e, name, None) if kind == want else None

    stack: Sequence[str] = getattr(e, "stack", None) or []
    return [
        e.key,
        e.count,
        str(getattr(e, "device_type", "")),
        getattr(e, "node_id", None),
        e.self_cpu_time_total,
        e.cpu_time_total,
        device("self_device_time_total", "cuda"),
        device("device_time_total", "cuda"),
        device("self_device_time_total", "xpu"),
        device("device_time_total", "xpu"),
        e.self_cpu_memory_usage,
        e.cpu_memory_usage,
        device("self_device_memory_usage", "cuda"),
        device("device_memory_usage", "cuda"),
        device("self_device_memory_usage", "xpu"),
        device("device_memory_usage", "xpu"),
        str(getattr(e, "input_shapes", "") or ""),
        "\n".join(stack),
        getattr(e, "overload_name", None),
        bool(getattr(e, "is_async", False)),
        bool(getattr(e, "is_legacy", False)),
    ]
