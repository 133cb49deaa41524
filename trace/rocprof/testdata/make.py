"""Makes result.json and result.db, one program's profile in rocprofv3's two formats:
python3 make.py, in this directory.

No file of rocprofv3 itself is at hand; the layouts are those of its documentation and of the
schema that it ships. The program launches a kernel on card 0, copies to card 1, and marks a range.
"""

import json
import os
import sqlite3

GPU0, GPU1, CPU = 101, 102, 100
op = lambda kind, operation, corr, start, end, **more: {
    "size": 64, "kind": kind, "operation": operation, "thread_id": 12, "correlation_id": {"internal": corr, "external": 0},
    "start_timestamp": start, "end_timestamp": end, **more,
}
json.dump({"rocprofiler-sdk-tool": [{
    "metadata": {"pid": 11, "init_time": 900, "fini_time": 9000, "node": {"hostname": "node-a"}},
    "agents": [
        {"id": {"handle": CPU}, "type": 1, "node_id": 0, "name": "EPYC"},
        {"id": {"handle": GPU0}, "type": 2, "node_id": 1, "logical_node_type_id": 0, "name": "gfx942", "product_name": "MI300X", "cu_count": 304},
        {"id": {"handle": GPU1}, "type": 2, "node_id": 2, "logical_node_type_id": 1, "name": "gfx942", "product_name": "MI300X", "cu_count": 304},
    ],
    "strings": {
        "buffer_records": [
            {"kind": "NONE", "operations": []},
            {"kind": "HIP_RUNTIME_API", "operations": ["hipLaunchKernel", "hipMemcpyAsync"]},
            {"kind": "MEMORY_COPY", "operations": ["MEMORY_COPY_NONE", "MEMORY_COPY_HOST_TO_DEVICE"]},
            {"kind": "KERNEL_DISPATCH", "operations": ["KERNEL_DISPATCH_COMPLETE"]},
            {"kind": "MARKER_CORE_API", "operations": ["roctxThreadRangeA"]},
        ],
        "marker_api": [{"key": 3, "value": "decode step"}],
    },
    "kernel_symbols": [{"kernel_id": 7, "kernel_name": "_Z4gemmv.kd", "formatted_kernel_name": "gemm()"}],
    "buffer_records": {
        "hip_api": [op(1, 0, 1, 1000, 1100), op(1, 1, 2, 1200, 1300)],
        "kernel_dispatch": [op(3, 0, 1, 1500, 2500, stream_id={"handle": 5}, dispatch_info={
            "agent_id": {"handle": GPU0}, "queue_id": {"handle": 1}, "kernel_id": 7, "private_segment_size": 0, "group_segment_size": 4096,
            "workgroup_size": {"x": 256, "y": 1, "z": 1}, "grid_size": {"x": 1000, "y": 2, "z": 1}})],
        "memory_copy": [op(2, 1, 2, 2600, 2700, dst_agent_id={"handle": GPU1}, src_agent_id={"handle": CPU}, stream_id={"handle": 5}, bytes=1000)],
        "marker_api": [op(4, 0, 3, 950, 1400)],
        "scratch_memory": [op(0, 0, 9, 1, 2)],
    },
}]}, open("result.json", "w"), indent=1)

if os.path.exists("result.db"):
    os.remove("result.db")
db = sqlite3.connect("result.db")
db.execute("PRAGMA page_size = 512")
db.executescript("""
CREATE TABLE rocpd_metadata_1a (id INTEGER PRIMARY KEY, tag TEXT, value TEXT);
CREATE TABLE rocpd_string_1a (id INTEGER PRIMARY KEY, guid TEXT, string TEXT);
INSERT INTO rocpd_string_1a VALUES (1, 'g', 'hipLaunchKernel'), (2, 'g', 'hipMemcpyAsync'), (3, 'g', 'decode step'),
  (4, 'g', 'MEMORY_COPY_HOST_TO_DEVICE'), (5, 'g', 'HIP_RUNTIME_API'), (6, 'g', 'MARKER_CORE_API');
CREATE TABLE rocpd_info_node_1a (id INTEGER PRIMARY KEY, guid TEXT, hostname TEXT);
INSERT INTO rocpd_info_node_1a VALUES (1, 'g', 'node-a');
CREATE TABLE rocpd_info_process_1a (id INTEGER PRIMARY KEY, guid TEXT, pid INTEGER, command TEXT);
INSERT INTO rocpd_info_process_1a VALUES (1, 'g', 11, 'python');
CREATE TABLE rocpd_info_thread_1a (id INTEGER PRIMARY KEY, guid TEXT, pid INTEGER, tid INTEGER, name TEXT);
INSERT INTO rocpd_info_thread_1a VALUES (1, 'g', 1, 12, 'main');
CREATE TABLE rocpd_info_agent_1a (id INTEGER PRIMARY KEY, guid TEXT, type TEXT, type_index INTEGER, name TEXT, product_name TEXT);
INSERT INTO rocpd_info_agent_1a VALUES (100, 'g', 'CPU', 0, 'EPYC', ''), (101, 'g', 'GPU', 0, 'gfx942', 'MI300X'), (102, 'g', 'GPU', 1, 'gfx942', 'MI300X');
CREATE TABLE rocpd_info_kernel_symbol_1a (id INTEGER PRIMARY KEY, guid TEXT, kernel_name TEXT, display_name TEXT);
INSERT INTO rocpd_info_kernel_symbol_1a VALUES (7, 'g', '_Z4gemmv.kd', 'gemm()');
CREATE TABLE rocpd_event_1a (id INTEGER PRIMARY KEY, guid TEXT, category_id INTEGER, stack_id INTEGER);
INSERT INTO rocpd_event_1a VALUES (1, 'g', 5, 1), (2, 'g', 5, 2), (3, 'g', 6, 3), (4, 'g', NULL, 1), (5, 'g', NULL, 2);
CREATE TABLE rocpd_region_1a (id INTEGER PRIMARY KEY, guid TEXT, nid INTEGER, pid INTEGER, tid INTEGER, start BIGINT, end BIGINT, name_id INTEGER, event_id INTEGER);
INSERT INTO rocpd_region_1a VALUES (1, 'g', 1, 1, 1, 1000, 1100, 1, 1), (2, 'g', 1, 1, 1, 1200, 1300, 2, 2), (3, 'g', 1, 1, 1, 950, 1400, 3, 3);
CREATE TABLE rocpd_timestamp_1a (id INTEGER PRIMARY KEY, guid TEXT, value BIGINT);
INSERT INTO rocpd_timestamp_1a VALUES (1, 'g', 1500), (2, 'g', 2500);
CREATE TABLE rocpd_kernel_dispatch_1a (id INTEGER PRIMARY KEY, guid TEXT, pid INTEGER, tid INTEGER, agent_id INTEGER, kernel_id INTEGER, queue_id INTEGER, stream_id INTEGER,
  start_id INTEGER, end_id INTEGER, private_segment_size INTEGER, group_segment_size INTEGER, workgroup_size_x INTEGER, workgroup_size_y INTEGER, workgroup_size_z INTEGER,
  grid_size_x INTEGER, grid_size_y INTEGER, grid_size_z INTEGER, event_id INTEGER);
INSERT INTO rocpd_kernel_dispatch_1a VALUES (1, 'g', 1, 1, 101, 7, 1, 5, 1, 2, 0, 4096, 256, 1, 1, 1000, 2, 1, 4);
CREATE TABLE rocpd_memory_copy_1a (id INTEGER PRIMARY KEY, guid TEXT, pid INTEGER, tid INTEGER, start BIGINT, end BIGINT, name_id INTEGER, dst_agent_id INTEGER, src_agent_id INTEGER,
  size INTEGER, queue_id INTEGER, stream_id INTEGER, event_id INTEGER);
INSERT INTO rocpd_memory_copy_1a VALUES (1, 'g', 1, 1, 2600, 2700, 4, 102, 100, 1000, 1, 5, 5);
""")
db.close()
