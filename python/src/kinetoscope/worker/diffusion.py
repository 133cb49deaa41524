"""diffusion stages: a pipeline of diffusers, prompt in and images out.

Text encoding, every denoise step and the VAE are regions of their own, and each denoise
step is an iteration. Several ranks share a step: the rows of its batch (images, and both
halves of classifier-free guidance) are split over them and gathered.

With load_format dummy the pipeline is a StableDiffusionPipeline made of the configurations
in the model's directory (unet, vae, text_encoder, scheduler) with random weights; else it is
whatever DiffusionPipeline.from_pretrained makes of a path or a hub id.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from kinetoscope import regions, wire
from kinetoscope.regions import annotate
from kinetoscope.worker.group import Group
from kinetoscope.worker.loop import INTERNAL, OVERLOADED, Loop, Plan, RequestError


class Cancelled(Exception):
    """Ends the request under way, on every rank at the same step."""


class Diffusion:
    """The runner of a diffusion stage that is a whole pipeline."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.stage = loop, loop.stage
        torch.manual_seed(self.stage.seed)
        self.dummy = self.stage.load_format == "dummy"
        self.pipe: Any = _dummy(Path(self.stage.model)) if self.dummy else _pretrained(self.stage.model)
        self.pipe.to(loop.device)
        self.pipe.set_progress_bar_config(disable=True)
        # Pipelines differ in what they can be told: guidance, a negative prompt, a size.
        self._takes = set(inspect.signature(self.pipe.__call__).parameters)
        if "callback_on_step_end" not in self._takes:
            raise ValueError(
                f"{type(self.pipe).__name__} has no callback_on_step_end: its steps cannot be told apart"
            )
        self.denoiser: Any = getattr(self.pipe, "transformer", None) or self.pipe.unet
        self.denoiser.forward = self._denoise(self.denoiser.forward)
        if getattr(self.pipe, "vae", None) is not None:
            self._wrap(self.pipe.vae, "decode", regions.VAE_DECODE)
        if hasattr(self.pipe, "encode_prompt") and not self.dummy:
            self._wrap(self.pipe, "encode_prompt", regions.TEXT_ENCODE)
        self.waiting: deque[wire.Message] = deque()
        self._open: Any = None  # the region of the denoise step under way
        self._begun: Any = None  # its mark
        self._requests: list[str] = []
        self._step = 0
        self._marks: list[tuple[str, Any, Any]] = []  # phases of the request under way
        self._cancelled = False  # the request under way; on rank 0

    def pending(self) -> int:
        """Requests that wait."""
        return len(self.waiting)

    def accept(self, m: wire.Message) -> None:
        """Take a request."""
        if m.request is None:
            raise RuntimeError("hand-off without its request: the first was lost")
        if len(self.waiting) >= self.stage.max_queue:
            raise RequestError(f"{len(self.waiting)} requests wait already", OVERLOADED)
        image = m.request.get("image")
        if not isinstance(image, dict):
            raise RequestError("the request names no image size")
        unit = int(getattr(self.pipe, "vae_scale_factor", 8))
        if image["width"] % unit or image["height"] % unit:
            raise RequestError(f"size {image['width']}x{image['height']}: both must be multiples of {unit}")
        self.waiting.append(m)

    def cancel(self, request: str) -> None:
        """Forget a request that waits; one under way ends with its denoise step."""
        self._cancelled |= request in self._requests
        self.waiting = deque(m for m in self.waiting if m.id != request)

    def plan(self) -> Plan | None:
        """The oldest request."""
        if not self.waiting:
            return None
        m = self.waiting.popleft()
        return Plan("generate", [m.id], {"request": m.request})

    def run(self, plan: Plan) -> Any:
        """Run the pipeline for one request; rank 0 gets the images as PNG files, or the error."""
        image = plan.body["request"]["image"]
        self._requests, self._cancelled, self._marks = plan.requests, False, []
        generators = [torch.Generator("cpu").manual_seed(int(image["seed"]) + k) for k in range(image["n"])]
        arguments: dict[str, Any] = {
            "width": image["width"],
            "height": image["height"],
            "num_inference_steps": image["steps"],
            "guidance_scale": float(image["guidance"]),
            "num_images_per_prompt": image["n"],
            "generator": generators,
            "output_type": "pil",
            "callback_on_step_end": self._step_end,
        }
        try:
            arguments |= self._prompt(plan.body["request"])
            with torch.no_grad():
                out = self.pipe(**{k: v for k, v in arguments.items() if k in self._takes})
        except Exception as e:  # the same on every rank: shapes and values come with the plan
            return e
        finally:
            self._close_step()
            self._requests = []
        if self.loop.group.rank != 0:
            return None
        with annotate("encode_png", batch=len(out.images)):
            return [_png(img) for img in out.images]

    def _prompt(self, request: dict[str, Any]) -> dict[str, Any]:
        prompt, negative = str(request.get("prompt", "")), str(request.get("negative_prompt", ""))
        if not self.dummy:
            return {"prompt": prompt, "negative_prompt": negative or None}
        with self._phase(regions.TEXT_ENCODE):
            return {"prompt_embeds": self._embed(prompt), "negative_prompt_embeds": self._embed(negative)}

    def _embed(self, prompt: str) -> torch.Tensor:
        """Bytes through the text encoder: a model of random weights has no vocabulary."""
        encoder = self.pipe.text_encoder
        size = int(encoder.config.max_position_embeddings)
        vocab = int(encoder.config.vocab_size)
        ids = [b % vocab for b in prompt.encode()[:size]]
        ids += [0] * (size - len(ids))
        out: torch.Tensor = encoder(torch.tensor([ids], device=self.loop.device))[0]
        return out

    # Regions and iterations

    def _denoise(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        group = self.loop.group

        def run(*args: Any, **kwargs: Any) -> Any:
            if self._open is None:
                self._open = self.loop.region(regions.DENOISE_STEP, self._step, self._requests)
                self._open.__enter__()
                self._begun = self.loop.durations.mark()
            return _split(forward, group, args, kwargs)

        return run

    def _step_end(self, pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        self._close_step()
        self.loop.step_ended()
        self.loop.act()
        if self.loop.group.rank == 0:
            self.loop.drain()
        if self.loop.group.agree(self._cancelled):
            raise Cancelled
        return kwargs

    def _close_step(self) -> None:
        if self._open is not None:
            self._marks.append((regions.DENOISE_STEP, self._begun, self.loop.durations.mark()))
            self._open.__exit__(None, None, None)
            self._open = None
            self._step += 1

    def _wrap(self, owner: Any, method: str, name: str) -> None:
        inner = getattr(owner, method)

        def run(*args: Any, **kwargs: Any) -> Any:
            with self._phase(name):
                return inner(*args, **kwargs)

        setattr(owner, method, run)

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """A region that is no denoise step, and its marks."""
        with annotate(name, requests=",".join(self._requests), batch=len(self._requests)):
            begun = self.loop.durations.mark()
            yield
            self._marks.append((name, begun, self.loop.durations.mark()))

    def _durations(self) -> dict[str, int]:
        """What the request's phases took in all, counted for the stage too."""
        self.loop.synchronize()
        out: dict[str, int] = defaultdict(int)
        for name, begun, ended in self._marks:
            ns = self.loop.durations.elapsed(begun, ended)
            self.loop.durations.observe(name, ns)
            out[name] += ns
        self._marks = []
        return dict(out)

    def emit(self, plan: Plan, result: Any, ns: int) -> None:
        """Send the images."""
        request = plan.body["request"]
        durations = self._durations()
        if isinstance(result, Cancelled):
            return
        if isinstance(result, Exception):
            self.loop.fail_request(request, INTERNAL, f"{type(result).__name__}: {result}")
            return
        head = {"type": self.stage.final_output_type, "final": True, "reason": "stop"}
        try:
            self.loop.output(request, wire.Message(head, [], result))
        except wire.FrameError as e:
            self.loop.fail_request(request, INTERNAL, str(e))
            return
        self.loop.done(request, durations)


# What a denoiser takes first, by position or by one of these names: a U-Net, a transformer.
_SAMPLE = ("sample", "hidden_states")


def _split(forward: Callable[..., Any], group: Group, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run this rank's rows of the batch and gather all; a batch smaller than the group is not split."""
    sample = args[0] if args else next((kwargs[n] for n in _SAMPLE if n in kwargs), None)
    rows = sample.shape[0] if isinstance(sample, torch.Tensor) else 0
    if group.size == 1 or rows < group.size:
        return forward(*args, **kwargs)
    each = -(-rows // group.size)

    def part(x: Any, name: str = "") -> Any:
        if name.endswith("_ids"):  # of positions, the same for all rows
            return x
        if isinstance(x, torch.Tensor) and x.dim() > 0 and x.shape[0] == rows:
            # Rows are repeated at the end, so that every rank has as many.
            at = [min(group.rank * each + i, rows - 1) for i in range(each)]
            return x[torch.tensor(at, device=x.device)]
        if isinstance(x, dict):
            return {k: part(v) for k, v in x.items()}
        return x

    out = forward(*(part(a) for a in args), **{k: part(v, k) for k, v in kwargs.items()})
    own = out[0] if isinstance(out, tuple) else out.sample
    whole = torch.cat(group.gather(own))[:rows]
    if isinstance(out, tuple):
        return (whole, *out[1:])
    out.sample = whole
    return out


def _png(image: Any) -> bytes:
    b = io.BytesIO()
    image.save(b, "PNG")
    return b.getvalue()


def _pretrained(model: str) -> Any:
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(model)


def _dummy(directory: Path) -> Any:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    def config(name: str) -> dict[str, Any]:
        path = directory / name / ("scheduler_config.json" if name == "scheduler" else "config.json")
        d: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return d

    scheduler = config("scheduler")
    make = getattr(diffusers, scheduler.get("_class_name", "DDIMScheduler"))
    return diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL.from_config(config("vae")).eval(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**config("text_encoder"))).eval(),
        tokenizer=None,
        unet=diffusers.UNet2DConditionModel.from_config(config("unet")).eval(),
        scheduler=make.from_config(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
