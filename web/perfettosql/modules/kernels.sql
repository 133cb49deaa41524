INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;

-- Calls of a runtime or driver with the number that links them with what they launched.
CREATE PERFETTO VIEW kinetoscope_launches AS
SELECT s.id, s.ts, s.dur, s.name, s.parent_id, s.upid, c.int_value AS correlation
FROM kinetoscope_slices AS s
JOIN args AS c ON c.arg_set_id = s.arg_set_id AND c.flat_key = 'debug.correlation'
WHERE s.kind = 'runtime';

-- Work on devices with the call that launched it and the slice around that call, an operator's mostly.
CREATE PERFETTO VIEW kinetoscope_kernels AS
SELECT
  d.id, d.ts, d.dur, d.name, d.category, d.rank, d.upid, d.track_id, d.arg_set_id,
  d.thread AS stream,
  c.int_value AS correlation,
  l.id AS launch_id,
  l.ts AS launch_ts,
  d.ts - l.ts AS launch_to_start,
  l.parent_id AS op_id
FROM kinetoscope_slices AS d
LEFT JOIN args AS c ON c.arg_set_id = d.arg_set_id AND c.flat_key = 'debug.correlation'
LEFT JOIN kinetoscope_launches AS l ON l.upid = d.upid AND l.correlation = c.int_value
WHERE d.kind = 'device';
