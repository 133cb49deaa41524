-- Where did the time go, by name?
SELECT name, COUNT(*) AS calls, SUM(dur) / 1e6 AS ms FROM slice GROUP BY name ORDER BY ms DESC LIMIT 20;

-- The same, without what is counted inside it
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT name, SUM(self_dur) / 1e6 AS self_ms FROM kinetoscope_self WHERE kind = 'host'
GROUP BY name ORDER BY self_ms DESC LIMIT 20;

-- Device time by kernel
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT name, COUNT(*) AS calls, SUM(dur) / 1e6 AS ms, AVG(dur) / 1e3 AS mean_us
FROM kinetoscope_slices WHERE kind = 'device' GROUP BY name ORDER BY ms DESC LIMIT 20;

-- How busy was each stream?
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT rank, stream, COUNT(*) AS slices, SUM(dur) / 1e6 AS busy_ms,
  1.0 * SUM(dur) / (MAX(ts + dur) - MIN(ts)) AS busy
FROM kinetoscope_kernels GROUP BY upid, track_id ORDER BY busy_ms DESC;

-- How long is it from launch to start?
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
WITH l AS (
  SELECT launch_to_start AS ns, ROW_NUMBER() OVER (ORDER BY launch_to_start) AS n, COUNT(*) OVER () AS of
  FROM kinetoscope_kernels WHERE launch_to_start IS NOT NULL)
SELECT MIN(CASE WHEN n >= 0.5 * of THEN ns END) / 1e3 AS p50_us,
  MIN(CASE WHEN n >= 0.99 * of THEN ns END) / 1e3 AS p99_us FROM l;

-- Kernels that waited longest for their device
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT id, name, launch_to_start / 1e3 AS waited_us, ts FROM kinetoscope_kernels
WHERE launch_to_start IS NOT NULL ORDER BY launch_to_start DESC LIMIT 10;

-- Which operator launched the most device time?
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT o.name, COUNT(*) AS kernels, SUM(k.dur) / 1e6 AS ms
FROM kinetoscope_kernels AS k JOIN slice AS o ON o.id = k.op_id GROUP BY o.name ORDER BY ms DESC LIMIT 20;

-- Device work whose launch is not in the trace
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT COUNT(*) AS slices, SUM(dur) / 1e6 AS ms FROM kinetoscope_kernels WHERE launch_id IS NULL;

-- The longest gaps of a stream
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
WITH g AS (
  SELECT rank, stream, ts + dur AS gap_start,
    LEAD(ts) OVER (PARTITION BY upid, track_id ORDER BY ts) - (ts + dur) AS gap
  FROM kinetoscope_kernels)
SELECT rank, stream, gap_start, gap FROM g WHERE gap > 0 ORDER BY gap DESC LIMIT 10;

-- Time by category
SELECT category, COUNT(*) AS slices, SUM(dur) / 1e6 AS ms FROM slice GROUP BY category ORDER BY ms DESC;

-- Which threads did the work?
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT rank, thread, tid, COUNT(*) AS slices, SUM(self_dur) / 1e6 AS ms
FROM kinetoscope_self WHERE kind <> 'device' GROUP BY rank, thread, tid ORDER BY ms DESC;

-- Percentiles of one operator
WITH c AS (
  SELECT dur, ROW_NUMBER() OVER (ORDER BY dur) AS n, COUNT(*) OVER () AS of FROM slice WHERE name = 'aten::mm')
SELECT COUNT(*) AS calls, MIN(dur) AS least, MIN(CASE WHEN n >= 0.5 * of THEN dur END) AS p50,
  MIN(CASE WHEN n >= 0.9 * of THEN dur END) AS p90, MIN(CASE WHEN n >= 0.99 * of THEN dur END) AS p99,
  MAX(dur) AS most FROM c;

-- Its longest calls
SELECT id, ts, dur / 1e3 AS us FROM slice WHERE name = 'aten::mm' ORDER BY dur DESC LIMIT 5;

-- An argument of a slice
SELECT s.id, s.name, a.int_value AS external_id
FROM slice AS s JOIN args AS a ON a.arg_set_id = s.arg_set_id AND a.flat_key = 'debug.External id' LIMIT 5;

-- Time by input shapes
WITH shapes AS (
  SELECT arg_set_id, GROUP_CONCAT(COALESCE(string_value, int_value)) AS dims
  FROM args WHERE flat_key = 'debug.Input Dims' OR flat_key GLOB 'debug.Input Dims.*' GROUP BY arg_set_id)
SELECT s.name, i.dims, COUNT(*) AS calls, SUM(s.dur) / 1e6 AS ms
FROM slice AS s LEFT JOIN shapes AS i ON i.arg_set_id = s.arg_set_id
WHERE s.category = 'cpu_op' GROUP BY s.name, i.dims ORDER BY ms DESC LIMIT 20;

-- What ran inside a slice?
SELECT c.name, COUNT(*) AS calls, SUM(c.dur) / 1e3 AS us
FROM slice AS p JOIN slice AS c ON c.parent_id = p.id WHERE p.name = 'aten::linear'
GROUP BY c.name ORDER BY us DESC;

-- How deep do slices nest?
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT depth, COUNT(*) AS slices FROM kinetoscope_slices WHERE kind = 'host' GROUP BY depth ORDER BY depth;

-- Slices that overlap others of their track in part
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT s.name, COUNT(*) AS slices FROM kinetoscope_slices AS s JOIN track AS t ON t.id = s.track_id
WHERE t.name GLOB '* overlap *' GROUP BY s.name ORDER BY slices DESC;

-- Copies between host and device
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT k.name, COUNT(*) AS copies, SUM(k.dur) / 1e6 AS ms, SUM(b.int_value) / 1e9 AS gb
FROM kinetoscope_kernels AS k
LEFT JOIN args AS b ON b.arg_set_id = k.arg_set_id AND b.flat_key = 'debug.bytes'
WHERE k.category = 'gpu_memcpy' GROUP BY k.name ORDER BY ms DESC;

-- Collectives
SELECT s.name, a.string_value AS collective, COUNT(*) AS calls, SUM(s.dur) / 1e6 AS ms
FROM slice AS s LEFT JOIN args AS a ON a.arg_set_id = s.arg_set_id AND a.flat_key = 'debug.Collective name'
WHERE s.name GLOB 'nccl*' OR s.name GLOB 'c10d::*' GROUP BY s.name, collective ORDER BY ms DESC;

-- What happened between two times?
SELECT id, ts, dur, name FROM slice
WHERE ts BETWEEN (SELECT MIN(ts) FROM slice) AND (SELECT MIN(ts) + 1000000 FROM slice) ORDER BY ts LIMIT 50;

-- What was running at one time?
SELECT track_id, depth, name FROM slice
WHERE (SELECT MIN(ts) + 500000 FROM slice) BETWEEN ts AND ts + dur ORDER BY track_id, depth;

-- Work over time, in pieces of 10 ms
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT (ts - (SELECT MIN(ts) FROM slice)) / 10000000 AS piece, SUM(dur) / 1e6 AS device_ms
FROM kinetoscope_kernels GROUP BY piece ORDER BY piece;

-- Steps of torch's profiler
SELECT name, MIN(ts) AS ts, MAX(dur) / 1e6 AS ms FROM slice
WHERE name GLOB 'ProfilerStep#*' GROUP BY name ORDER BY ts;

-- Calls of the runtime
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT name, COUNT(*) AS calls, SUM(dur) / 1e6 AS ms, MAX(dur) / 1e3 AS longest_us
FROM kinetoscope_slices WHERE kind = 'runtime' GROUP BY name ORDER BY ms DESC;

-- Compare ranks
INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;
SELECT rank, SUM(CASE WHEN kind = 'device' THEN dur END) / 1e6 AS device_ms,
  SUM(CASE WHEN kind = 'host' THEN self_dur END) / 1e6 AS host_ms
FROM kinetoscope_self GROUP BY rank ORDER BY rank;

-- The same kernel on every rank
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT name, rank, AVG(dur) / 1e3 AS mean_us FROM kinetoscope_kernels
GROUP BY name, rank ORDER BY name, rank LIMIT 50;

-- Counters
SELECT t.name, MIN(c.value) AS least, AVG(c.value) AS mean, MAX(c.value) AS most
FROM counter AS c JOIN counter_track AS t ON t.id = c.track_id GROUP BY t.name;

-- A query written for Perfetto
SELECT s.name, COUNT(*) AS slices FROM slice AS s JOIN thread_track AS t ON s.track_id = t.id
JOIN thread USING (utid) GROUP BY s.name ORDER BY slices DESC LIMIT 10;

-- Which steps were slowest?
INCLUDE PERFETTO MODULE io.github.kinetoscope.steps;
SELECT id, rank, kind, name, dur / 1e6 AS ms FROM kinetoscope_steps ORDER BY dur DESC LIMIT 10;

-- Steps by kind, and who sets their pace
INCLUDE PERFETTO MODULE io.github.kinetoscope.steps;
SELECT rank, kind, COUNT(*) AS steps, AVG(dur) / 1e6 AS mean_ms, MAX(dur) / 1e6 AS longest_ms
FROM kinetoscope_steps GROUP BY rank, kind ORDER BY SUM(dur) DESC;

-- Kernels of the slowest step
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
INCLUDE PERFETTO MODULE io.github.kinetoscope.steps;
WITH s AS (SELECT * FROM kinetoscope_steps ORDER BY dur DESC LIMIT 1)
SELECT k.name, COUNT(*) AS calls, SUM(k.dur) / 1e3 AS us
FROM s JOIN kinetoscope_kernels AS k ON k.upid = s.upid AND k.ts BETWEEN s.ts AND s.ts + s.dur
GROUP BY k.name ORDER BY us DESC LIMIT 10;

-- The same moment on all ranks: times on one clock
INCLUDE PERFETTO MODULE io.github.kinetoscope.kernels;
SELECT rank, name, ts, dur FROM kinetoscope_kernels WHERE category = 'kernel' ORDER BY ts LIMIT 20;

-- Requests that took longest
INCLUDE PERFETTO MODULE io.github.kinetoscope.requests;
SELECT request, dur / 1e6 AS ms, slices, ranks FROM kinetoscope_requests ORDER BY dur DESC LIMIT 10;
