"""Models as users have them: saved directories with weights and tokenizers, and pipelines of other makes."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import Sent

from kinetoscope import wire
from kinetoscope.worker import diffusion
from kinetoscope.worker.group import Group
from kinetoscope.worker.loop import Loop
from kinetoscope.worker.options import Deployment, Options, Stage

EXAMPLE = Path(__file__).parents[2] / "examples" / "torch" / "diffusion" / "model"


def word_tokenizer() -> Any:
    """A tokenizer of whole words, fast as most models have them."""
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(90)), "a", "red", "house"]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def clip_tokenizer(directory: Path) -> Any:
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    directory.mkdir(parents=True)
    (directory / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(directory / "vocab.json"), str(directory / "merges.txt"), model_max_length=77, pad_token=names[1]
    )


def loop_of(stage: Stage) -> tuple[Loop, Sent]:
    pipeline = Deployment("p", [stage])
    stop = threading.Event()
    loop = Loop(Options("n", "p", 0), pipeline, stage, Group(0, 1), torch.device("cpu"), stop)
    sent = Sent()
    loop.rank = sent  # type: ignore[assignment]
    return loop, sent


def test_a_saved_language_model_speaks_with_its_own_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from kinetoscope.worker.llm import LLM

    tokenizer = word_tokenizer()
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(3)
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    stage = Stage.from_dict(
        {"model": str(tmp_path), "load_format": "auto", "final_output": True, "final_output_type": "text"}
    )
    loop, sent = loop_of(stage)
    runner = LLM(loop)
    ids = tokenizer.encode("a red house")
    want: list[int] = []
    with torch.inference_mode():
        for _ in range(5):
            logits = model(torch.tensor([ids + want])).logits[0, -1]
            logits[2] = -torch.inf
            want.append(int(logits.argmax()))
        body = {
            "id": "a",
            "reply": "inbox",
            "prompt": "a red house",
            "sampling": {"max_tokens": 5, "ignore_eos": True},
        }
        runner.accept(wire.Message({"kind": "submit", "id": "a", "request": body}))
        while (plan := runner.plan()) is not None:
            runner.emit(plan, runner.run(plan), 1)
    text = "".join(m.head.get("text", "") for m in sent.messages if m.kind == "output")
    assert text.split() == tokenizer.decode(want, skip_special_tokens=True).split()


def paint(runner: diffusion.Diffusion, **image: Any) -> None:
    size = {"n": 1, "width": 64, "height": 64, "steps": 2, "guidance": 3.0, "seed": 1}
    body = {"id": "a", "reply": "inbox", "prompt": "a red house", "image": size | image}
    runner.accept(wire.Message({"kind": "submit", "id": "a", "request": body}))
    plan = runner.plan()
    assert plan is not None
    with torch.inference_mode():
        runner.emit(plan, runner.run(plan), 1)


def drawn(sent: Sent) -> dict[str, Any]:
    """The durations of a request that was drawn."""
    assert [m.kind for m in sent.messages] == ["output", "done"], sent.messages[0].head
    assert sent.messages[0].blobs[0].startswith(b"\x89PNG")
    took: dict[str, Any] = sent.messages[1].head["durations"]
    return took


IMAGES = {"stage_type": "diffusion", "final_output": True, "final_output_type": "image"}


def test_a_saved_diffusion_pipeline_draws(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pipe = diffusion._dummy(EXAMPLE)
    pipe.tokenizer = clip_tokenizer(tmp_path / "tokenizer")
    pipe.register_modules(tokenizer=pipe.tokenizer)
    pipe.save_pretrained(tmp_path / "model")
    loop, sent = loop_of(Stage.from_dict(IMAGES | {"model": str(tmp_path / "model"), "load_format": "auto"}))
    paint(diffusion.Diffusion(loop))
    assert set(drawn(sent)) == {"text_encode", "denoise_step", "vae_decode"}


def flux(tmp_path: Path) -> Any:
    """A tiny pipeline with a transformer for a denoiser and two text encoders."""
    diffusers = pytest.importorskip("diffusers")
    import transformers

    torch.manual_seed(0)
    words = word_tokenizer()
    clip = transformers.CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=100,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    t5 = transformers.T5Config(d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, vocab_size=len(words))
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=transformers.CLIPTextModel(clip).eval(),
        tokenizer=clip_tokenizer(tmp_path / "tokenizer"),
        text_encoder_2=transformers.T5EncoderModel(t5).eval(),
        tokenizer_2=words,
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
        vae=diffusers.AutoencoderKL(
            sample_size=32,
            block_out_channels=(4,),
            latent_channels=1,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.06,
            scaling_factor=1.5,
        ).eval(),
    )


def test_a_pipeline_with_a_transformer_draws_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = flux(tmp_path)
    monkeypatch.setattr(diffusion, "_pretrained", lambda model: pipe)
    loop, sent = loop_of(Stage.from_dict(IMAGES | {"model": "flux", "load_format": "auto"}))
    paint(diffusion.Diffusion(loop), steps=3)
    assert set(drawn(sent)) == {"text_encode", "denoise_step", "vae_decode"}
    assert loop.durations.read()["denoise_step"]["count"] == 3


class Half:
    """Two ranks in one: the second has the rows that the first computes too."""

    rank, size = 0, 2

    def __init__(self) -> None:
        self.asked: list[torch.Size] = []

    def gather(self, t: torch.Tensor) -> list[torch.Tensor]:
        self.asked.append(t.shape)
        return [t, t]


def test_rows_are_split_however_a_denoiser_is_called(tmp_path: Path) -> None:
    def forward(hidden_states: torch.Tensor, scale: torch.Tensor, img_ids: torch.Tensor) -> Any:
        assert len(img_ids) == 4
        return (hidden_states * scale[:, None],)

    rows, scale, ids = torch.ones(4, 3), torch.full((4,), 2.0), torch.zeros(4, 3)
    for args, kwargs in (((rows,), {}), ((), {"hidden_states": rows})):
        half = Half()
        (out,) = diffusion._split(forward, half, args, kwargs | {"scale": scale, "img_ids": ids})  # type: ignore[arg-type]
        assert half.asked == [torch.Size([2, 3])]
        assert torch.equal(out, torch.full((4, 3), 2.0))
