"""What a worker is told: who it is, and the stage of the deployment that it runs."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, field
from typing import Any

from kinetoscope.protocol import Message, ProfilerConfig
from kinetoscope.regions import DEFAULT_PAST_MB

# Set by the supervisor: the Options as JSON, as package omni/worker has them.
ENV = "KINETOSCOPE_WORKER"


@dataclass
class Options:
    """Which rank a process is."""

    nats: str
    pipeline: str
    stage: int
    replica: int = 0
    rank: int = 0
    spool: str = ""
    host: str = ""  # "" is the address from which this process reaches the hub
    token: str = ""  # of the hub, if the URL holds none
    ca: str = ""  # PEM file of who signed the hub's certificate
    cert: str = ""  # PEM file of the certificate with which this rank shows who it is
    key: str = ""  # PEM file of its key
    creds: str = ""  # file of credentials on a cluster with users of its own
    supervised: bool = False  # standard input ends when the supervisor does


def options(argv: list[str] | None = None, env: dict[str, str] | None = None) -> Options:
    """Read the options from the supervisor's variable or from the command line."""
    text = (os.environ if env is None else env).get(ENV, "")
    if text:
        d = json.loads(text)
        return Options(
            nats=d["NATS"],
            pipeline=d["Pipeline"],
            stage=d["Stage"],
            replica=d.get("Replica", 0),
            rank=d.get("Rank", 0),
            spool=d.get("SpoolDir", ""),
            host=d.get("Host", ""),
            token=d.get("Token", ""),
            ca=d.get("CA", ""),
            cert=d.get("Cert", ""),
            key=d.get("Key", ""),
            creds=d.get("Creds", ""),
            supervised=True,
        )
    parser = argparse.ArgumentParser(
        prog="kinetoscope-torch-worker",
        description="One rank of a torch stage. `kinetoscope serve` starts it, or a hand elsewhere.",
    )
    parser.add_argument("--nats", required=True, help="URL of the hub's NATS")
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--stage", type=int, required=True)
    parser.add_argument("--replica", type=int, default=0)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--spool", default="", help="directory for recordings on their way")
    parser.add_argument("--host", default="", help="address on which peers reach this host")
    parser.add_argument("--token", default="", help="the hub's token, if the URL holds none")
    parser.add_argument("--ca", default="", help="PEM file of who signed the hub's certificate")
    parser.add_argument("--cert", default="", help="PEM file of this rank's certificate")
    parser.add_argument("--key", default="", help="PEM file of its key")
    parser.add_argument(
        "--creds", default="", help="a .creds file, or a file with an nkey's seed, for a cluster with users"
    )
    return Options(**vars(parser.parse_args(argv)))


@dataclass
class Sampling(Message):
    """A stage's defaults for what a request leaves open."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    max_tokens: int = 64
    seed: int = 0
    ignore_eos: bool = False
    num_inference_steps: int = 20
    guidance_scale: float = 0.0
    height: int = 64
    width: int = 64
    frames_per_token: int = 2


@dataclass
class Stage(Message):
    """One stage of the deployment: the members that a torch rank reads."""

    stage_id: int = 0
    stage_name: str = ""
    stage_type: str = "llm"
    num_replicas: int = 1
    tensor_parallel_size: int = 1
    devices: str = ""
    model: str = ""
    load_format: str = "dummy"
    seed: int = 0
    max_num_seqs: int = 8
    max_num_batched_tokens: int = 256
    max_model_len: int = 1024
    max_queue: int = 1024
    handoff_chunk: int = 8
    engine_input_source: list[int] = field(default_factory=list)
    final_output: bool = False
    final_output_type: str = ""
    flight_recorder_mb: int = DEFAULT_PAST_MB
    default_sampling_params: Sampling = field(default_factory=Sampling)
    profiler_config: ProfilerConfig = field(default_factory=ProfilerConfig)

    @property
    def past_mb(self) -> int:
        """Memory for the past; a stage without a profiler keeps none."""
        return self.flight_recorder_mb if self.profiler_config.profiler else 0


@dataclass
class Deployment:
    """The pipeline: its stages in order."""

    name: str
    stages: list[Stage]

    def next(self, stage: int) -> list[Stage]:
        """The stages that take this one's output."""
        return [s for s in self.stages if stage in s.engine_input_source]


def deployment(data: bytes) -> Deployment:
    """Read a deployment as the hub publishes it; ValueError if it is none."""
    d: Any = json.loads(data)
    if not isinstance(d, dict) or not isinstance(d.get("stages"), list):
        raise ValueError("deployment: no list of stages")
    return Deployment(str(d.get("name", "")), [Stage.from_dict(s) for s in d["stages"]])
