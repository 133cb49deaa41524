INCLUDE PERFETTO MODULE io.github.kinetoscope.slices;

-- Iterations by their labels: those of Kinetoscope's stages and of torch's profiler. Engines' own labels
-- and steps without any are found by `kinetoscope steps`, not here.
CREATE PERFETTO VIEW kinetoscope_steps AS
SELECT
  s.id, s.ts, s.dur, s.name, s.rank, s.upid, s.arg_set_id,
  CASE
    WHEN s.name = 'decode_step' THEN 'decode'
    WHEN s.name = 'denoise_step' THEN 'denoise'
    WHEN s.name GLOB 'ProfilerStep#*' THEN 'training'
    ELSE s.name
  END AS kind
FROM kinetoscope_slices AS s
WHERE s.kind = 'host'
  AND (s.name IN ('prefill', 'decode_step', 'text_encode', 'denoise_step', 'vae_decode', 'vocode')
    OR s.name GLOB 'ProfilerStep#*');
