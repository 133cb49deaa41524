"""Makes the exports that the tests read, as nsys lays them out: python3 make.py, in this directory.

No file of nsys itself is at hand; the tables are those of its exporter's documentation. Two
processes, 11 and 12, use one card, and their correlation ids are theirs alone."""
import os
import sqlite3


def make(path, statements):
    if os.path.exists(path):
        os.remove(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA page_size = 512")
    db.executescript(statements)
    db.close()


make("report.sqlite", """
CREATE TABLE StringIds (id INTEGER, value TEXT);
INSERT INTO StringIds VALUES (1, 'cudaLaunchKernel_v7000'), (2, 'void gemm<float>()'), (3, 'worker'), (4, 'prefill'), (5, 'cuLaunchKernel');
CREATE TABLE TARGET_INFO_SESSION_START_TIME (utcEpochNs INTEGER, utcTime TEXT);
INSERT INTO TARGET_INFO_SESSION_START_TIME VALUES (1700000000000000000, 'x');
CREATE TABLE TARGET_INFO_GPU (id INTEGER, name TEXT, smCount INTEGER, totalMemory INTEGER);
INSERT INTO TARGET_INFO_GPU VALUES (0, 'NVIDIA H100', 132, 85899345920);
CREATE TABLE PROCESSES (globalPid INTEGER, pid INTEGER, name TEXT);
INSERT INTO PROCESSES VALUES (184549376, 11, 'python'), (201326592, 12, 'python');
CREATE TABLE ThreadNames (nameId INTEGER, priority INTEGER, globalTid INTEGER);
INSERT INTO ThreadNames VALUES (3, 0, 184549387);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER, end INTEGER, globalTid INTEGER, correlationId INTEGER, nameId INTEGER);
INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (1000, 1500, 184549387, 7, 1), (1100, 1600, 201326604, 7, 5);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER, contextId INTEGER, streamId INTEGER, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER, gridX INTEGER, gridY INTEGER, gridZ INTEGER, blockX INTEGER, blockY INTEGER, blockZ INTEGER);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (2000, 2900, 0, 1, 7, 7, 184549376, 2, 4, 1, 1, 256, 1, 1), (3000, 3100, 0, 1, 7, 7, 201326592, 2, 4, 1, 1, 256, 1, 1), (NULL, 5, 0, 1, 7, 8, 201326592, 2, 1, 1, 1, 1, 1, 1);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, deviceId INTEGER, contextId INTEGER, streamId INTEGER, correlationId INTEGER, globalPid INTEGER, bytes INTEGER, copyKind INTEGER, srcKind INTEGER, dstKind INTEGER);
INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (4000, 4100, 0, 1, 7, 9, 184549376, 1000, 1, 1, 2);
CREATE TABLE NVTX_EVENTS (start INTEGER, end INTEGER, eventType INTEGER, text TEXT, globalTid INTEGER, textId INTEGER);
INSERT INTO NVTX_EVENTS VALUES (900, 5000, 59, NULL, 184549387, 4), (950, NULL, 34, 'here', 184549387, NULL), (960, NULL, 59, 'open', 184549387, NULL);
CREATE TABLE OSRT_API (start INTEGER);
INSERT INTO OSRT_API VALUES (1), (2);
""")

make("columns.sqlite", """
CREATE TABLE StringIds (id INTEGER, value TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, streamId INTEGER, "a ""column" TEXT);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (5, 3, 1, 'x'), ('text', 3, 1, 'x');
""")

make("other.sqlite", "CREATE TABLE other (a);")
