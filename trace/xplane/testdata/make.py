"""Makes cpu.xplane.pb and cpu.trace.json.gz, one capture in XProf's two formats.

Run in this directory with jax[cpu] installed: python - < make.py
(from standard input, so that no path of the machine is in the files).
"""

import glob
import shutil
import tempfile

import jax
import jax.numpy as jnp

f = jax.jit(lambda a, b: jnp.tanh(a @ b).sum())
a = jnp.ones((64, 64))
f(a, a).block_until_ready()
options = jax.profiler.ProfileOptions()
options.python_tracer_level = 0
with tempfile.TemporaryDirectory() as out:
    jax.profiler.start_trace(out, profiler_options=options)
    for i in range(3):
        with jax.profiler.StepTraceAnnotation("step", step_num=i, note='a "quoted" note'):
            f(a, a).block_until_ready()
    jax.profiler.stop_trace()
    for ending in ("xplane.pb", "trace.json.gz"):
        (made,) = glob.glob(f"{out}/plugins/profile/*/*.{ending}")
        shutil.copy(made, f"cpu.{ending}")
