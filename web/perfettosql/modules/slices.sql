-- All slices with whose they are: rank is the process of the file, thread its thread or stream.
-- kind is device for work on a device, runtime for a call of its runtime or driver, else host.
CREATE PERFETTO VIEW kinetoscope_slices AS
SELECT
  s.id, s.ts, s.dur, s.name, s.category, s.depth, s.parent_id, s.arg_set_id, s.track_id,
  COALESCE(t.name, tr.name) AS thread,
  t.tid,
  p.name AS rank,
  p.upid,
  CASE
    WHEN s.category IN ('kernel', 'gpu_memcpy', 'gpu_memset', 'mtia_ccp_events', 'collective_comm') THEN 'device'
    WHEN s.category GLOB '*_runtime' OR s.category GLOB '*_driver' THEN 'runtime'
    ELSE 'host'
  END AS kind
FROM slice AS s
LEFT JOIN track AS tr ON tr.id = s.track_id
LEFT JOIN thread_track AS own ON own.id = s.track_id
LEFT JOIN thread_track AS above ON above.id = tr.parent_id
LEFT JOIN thread AS t ON t.utid = COALESCE(own.utid, above.utid)
LEFT JOIN process AS p ON p.upid = t.upid;

-- The same with the time that no slice inside covers.
CREATE PERFETTO VIEW kinetoscope_self AS
WITH inside AS (SELECT parent_id, SUM(dur) AS dur FROM slice WHERE parent_id IS NOT NULL GROUP BY parent_id)
SELECT s.*, MAX(0, s.dur - COALESCE(i.dur, 0)) AS self_dur
FROM kinetoscope_slices AS s
LEFT JOIN inside AS i ON i.parent_id = s.id;
