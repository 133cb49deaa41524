INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;

-- Slices that name the one request that they are of.
CREATE PERFETTO VIEW kinetoscope_request_slices AS
SELECT s.id, s.ts, s.dur, s.name, s.rank, s.upid, a.string_value AS request
FROM kinetoscope_slices AS s
JOIN args AS a ON a.arg_set_id = s.arg_set_id AND a.flat_key = 'debug.request'
WHERE a.string_value IS NOT NULL;

-- Requests from the first slice of any stage that names them to the last.
CREATE PERFETTO VIEW kinetoscope_requests AS
SELECT
  request, MIN(ts) AS ts, MAX(ts + dur) - MIN(ts) AS dur, COUNT(*) AS slices,
  COUNT(DISTINCT upid) AS ranks
FROM kinetoscope_request_slices
GROUP BY request;
