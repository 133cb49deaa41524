"""Serves the real profile routes of engines whose models need a card, for tests: routes.py ENGINE PORT DIR.

What runs is the engine's own: its routes, what they call down to each stage's process, its profiler and the
files that this writes. In place of a model every stage's process multiplies a matrix. The environment that it
runs in is made by install.py.

    vllm-omni    its API server's profile router; stage 0 with the profiling of its language workers, stage 1 a
                 diffusion worker of its own in the wrapper of its own, loaded with its plugins
    sglang-omni  its profile routes, its control plane, and a stage's own answer to it, for two stages
    dynamo       its runtime's system server and the handler of its vLLM workers, over a real vLLM with the
                 model that the variable MODEL names
"""

import asyncio
import multiprocessing
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace


def busy(n: int = 1) -> None:
    """Some work for a profiler to see."""
    import torch

    x = torch.randn(64, 64)
    for _ in range(n):
        x = torch.relu(x @ x)


# --- vLLM-Omni


def profiler_config(directory: str):
    from vllm.config import ProfilerConfig

    return ProfilerConfig(profiler="torch", torch_profiler_dir=directory, torch_profiler_with_stack=False)


def language_stage(pipe, stage: int, directory: str) -> None:
    """A worker of a language stage, as far as it profiles."""
    from vllm_omni.profiler import create_omni_profiler
    from vllm_omni.worker.base import OmniGPUWorkerBase

    profiler = create_omni_profiler(profiler_config(directory), worker_name=f"stage{stage}_rank0", local_rank=0)
    worker = SimpleNamespace(
        profiler=profiler, rank=0, vllm_config=SimpleNamespace(model_config=SimpleNamespace(stage_id=stage))
    )
    pipe.send("ready")
    while True:
        if pipe.poll():
            args = pipe.recv()
            if args is None:
                return
            answer(pipe, lambda: OmniGPUWorkerBase.profile(worker, *args))
        with profiler.annotate_context_manager("execute_context_0(0)_generation_1(1)"):
            busy()
        profiler.step()
        time.sleep(0.002)


class Runner:
    """What a diffusion worker runs in place of a model."""

    def __init__(self, vllm_config, od_config, device) -> None:
        pass

    def execute_model(self, req, **_) -> str:
        busy()
        return "image"

    def execute_stepwise(self, cycle) -> str:
        busy()
        return "latents"


def diffusion_stage(pipe, stage: int, directory: str) -> None:
    """A diffusion worker of vLLM-Omni's own, without its device, in the wrapper that its executors make."""
    from vllm_omni.diffusion.worker.diffusion_worker import DiffusionWorker, WorkerWrapperBase
    from vllm_omni.plugins import load_omni_general_plugins

    class OnProcessor(DiffusionWorker):
        def init_device(self) -> None:
            self.device = "cpu"

        def load_model(self, *_, **__) -> None:
            pass

        def init_lora_manager(self) -> None:
            pass

        def _activate_step_lora(self, scheduler_output) -> None:
            pass

    load_omni_general_plugins()
    config = SimpleNamespace(
        stage_id=stage,
        num_gpus=1,
        diffusion_model_runner_cls="routes.Runner",
        diffusion_load_format="dummy",
        profiler_config=profiler_config(directory) if directory else None,
        step_execution=True,
    )
    worker = WorkerWrapperBase(gpu_id=0, od_config=config, base_worker_class=OnProcessor)
    pipe.send("ready")
    n = 0
    while True:
        if pipe.poll():
            args = pipe.recv()
            if args is None:
                return
            answer(pipe, lambda: worker.execute_method("profile", *args))
        n += 1
        if n % 10:
            worker.execute_stepwise(SimpleNamespace(scheduled_request_ids=["one", "two"]))
        else:
            worker.execute_model(SimpleNamespace(request_id="three"), config)
        time.sleep(0.002)


def answer(pipe, do) -> None:
    try:
        pipe.send((True, do()))
    except Exception as e:
        pipe.send((False, str(e)))


class Stages:
    """An engine client of vLLM-Omni's API server, as far as profiling asks: each stage is a process."""

    def __init__(self, directory: str) -> None:
        self.pipes = []
        spawn = multiprocessing.get_context("spawn")
        for stage, target in enumerate((language_stage, diffusion_stage)):
            ours, theirs = spawn.Pipe()
            spawn.Process(target=target, args=(theirs, stage, directory), daemon=True).start()
            self.pipes.append(ours)
        for pipe in self.pipes:
            pipe.recv()

    async def start_profile(self, profile_prefix=None, stages=None):
        return self.rpc(stages, True, profile_prefix)

    async def stop_profile(self, stages=None):
        return self.rpc(stages, False, None)

    def rpc(self, stages, is_start, prefix):
        for k in range(len(self.pipes)) if stages is None else stages:
            named = prefix
            if k == 1 and is_start and prefix is None:  # as its client of a diffusion stage names it
                named = f"stage_{k}_rep_0_diffusion_{int(time.time())}"
            self.pipes[k].send((is_start, named))
            ok, said = self.pipes[k].recv()
            if not ok:  # its pool of stages says so inside a good answer
                print(f"stage {k}: {said}", file=sys.stderr, flush=True)


def vllm_omni(port: int, directory: str) -> None:
    import uvicorn
    from fastapi import FastAPI
    from vllm_omni.entrypoints.openai.api_server import profiler_router
    from vllm_omni.version import __version__

    app = FastAPI()
    app.state.engine_client = Stages(directory)
    app.include_router(profiler_router)
    app.get("/health")(lambda: {})
    app.get("/version")(lambda: {"version": __version__})
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


# --- sglang-omni


def pipeline_stage(name: str, endpoint: str, ready) -> None:
    """A stage of sglang-omni, as far as it answers the profiler's control plane."""
    from sglang_omni.pipeline.control_plane import PullSocket
    from sglang_omni.pipeline.stage.runtime import Stage
    from sglang_omni.profiler.event_recorder import emit
    from sglang_omni.proto import ProfilerStartMessage

    stage = SimpleNamespace(name=name)

    async def run() -> None:
        socket = PullSocket(endpoint)
        await socket.start()
        ready.set()
        n = 0
        waiting = asyncio.ensure_future(socket.recv())
        while True:
            done, _ = await asyncio.wait([waiting], timeout=0.002)
            if done:
                message = waiting.result()
                if isinstance(message, ProfilerStartMessage):
                    Stage.on_profiler_start(stage, message)
                else:
                    Stage.on_profiler_stop(stage, message)
                waiting = asyncio.ensure_future(socket.recv())
            n += 1
            emit(request_id=f"r{n}", stage=name, event_name="stage_input_received")
            busy()
            emit(request_id=f"r{n}", stage=name, event_name="stage_complete")

    asyncio.run(run())


def sglang_omni(port: int, directory: str) -> None:
    import uvicorn
    from fastapi import FastAPI
    from sglang_omni.profiler.profiler_control import ProfilerControlClient
    from sglang_omni.serve.launcher import mount_profiler_routes

    spawn = multiprocessing.get_context("spawn")
    endpoints = {}
    for name in ("thinker", "talker"):
        endpoints[name] = f"ipc://{directory}/{name}.sock"
        ready = spawn.Event()
        spawn.Process(target=pipeline_stage, args=(name, endpoints[name], ready), daemon=True).start()
        ready.wait()
    app = FastAPI()
    mount_profiler_routes(app, ProfilerControlClient(endpoints), None)
    app.get("/health")(lambda: {})
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


# --- Dynamo


def dynamo(port: int, directory: str) -> None:
    os.environ["DYN_SYSTEM_PORT"] = str(port)
    from dynamo.runtime import DistributedRuntime
    from dynamo.vllm.handlers import BaseWorkerHandler
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    async def run() -> None:
        engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=os.environ["MODEL"], load_format="dummy", dtype="float32", max_model_len=1024, max_num_seqs=8,
                enforce_eager=True, profiler_config=profiler_config(directory),
            )
        )  # fmt: skip
        runtime = DistributedRuntime(asyncio.get_running_loop(), "mem", "tcp")
        handler = SimpleNamespace(engine_client=engine)
        for name in ("start_profile", "stop_profile"):
            method = getattr(BaseWorkerHandler, name)
            runtime.register_engine_route(f"control/{name}", lambda body, m=method: m(handler, body))
        n = 0
        while True:
            n += 1
            async for _ in engine.generate("the quick brown fox", SamplingParams(max_tokens=20), f"r{n}"):
                pass

    asyncio.run(run())


def main() -> None:
    engine, port, directory = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))  # stages' processes import this module by its name
    import routes

    {"vllm-omni": routes.vllm_omni, "sglang-omni": routes.sglang_omni, "dynamo": routes.dynamo}[engine](int(port), directory)


if __name__ == "__main__":
    main()
