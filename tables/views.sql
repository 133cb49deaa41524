-- Views over the tables of traces, in DuckDB's dialect. A view stands after those that it
-- is made of.

-- Time by name of slice, most first: what `select … group by name` is mostly asked for.
CREATE OR REPLACE VIEW by_name AS
SELECT trace, rank, category, name, count(*) AS calls, sum(dur) AS total, sum(self_dur) AS self, avg(dur) AS mean,
       quantile_cont(dur, 0.5) AS p50, quantile_cont(dur, 0.99) AS p99, max(dur) AS longest
FROM slices GROUP BY ALL ORDER BY total DESC;

-- How much of the time between its first and last work each stream was busy.
CREATE OR REPLACE VIEW streams AS
SELECT trace, rank, device, stream, count(*) AS slices, sum(dur) AS busy, max(ts + dur) - min(ts) AS span,
       sum(dur) / nullif(max(ts + dur) - min(ts), 0) AS share
FROM slices WHERE kind = 'device' GROUP BY ALL ORDER BY trace, rank, device, stream;

-- Names as Perfetto's trace processor has them, so that its queries need no rewriting.
CREATE OR REPLACE VIEW slice AS
SELECT id, ts, dur, track_id, category, name, depth, parent_id, trace, rank FROM slices;

CREATE OR REPLACE VIEW thread_track AS
SELECT id, id AS utid, thread AS name, trace, rank FROM tracks;

CREATE OR REPLACE VIEW thread AS
SELECT id AS utid, tid, thread AS name, pid AS upid, trace, rank FROM tracks;

CREATE OR REPLACE VIEW process AS
SELECT DISTINCT pid AS upid, pid, process AS name, trace, rank FROM tracks;

CREATE OR REPLACE VIEW counter AS
SELECT ts, value, track_id, name, series, trace, rank FROM counters;
