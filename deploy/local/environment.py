"""The environment of each process in the stack, and the addresses that ``manage.py`` reads back."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from deploy.local.demo.default_model import NAME as BUNDLED_MODEL
from deploy.local.files import load_or_create_secret, read_env, write_env
from deploy.local.processes.lock import lock_holder
from deploy.local.settings import ROOT, LocalSettings

STACK_FILE = "stack.env"
DEMO_FILE = "demo.env"
LOCK_FILE = "lock"
WORKER_ID = "local-1"
DATABASE_NAMES = ("CYLLM_DATABASE_URL", "CYLLM_SECRET_KEY")
REQUIRED_NAMES = ("CYLLM_DATABASE_URL", "CYLLM_REDIS_URL", "CYLLM_SECRET_KEY")
SETTINGS_MODULE = "cyllm_site.settings.base"
CODE_SETTINGS_MODULE = "cyllm_site.settings.check"
# The bundled model's own chat template doesn't support tools.
BUNDLED_MODEL_TOOLS = {
    "CYLLM_WORKER_TOOL_PARSER": "hermes",
    "CYLLM_WORKER_CHAT_TEMPLATE": str(Path(__file__).with_name("smollm2.jinja")),
}


def platform_environment(local: LocalSettings, *, database_url: str, redis_url: str) -> dict[str, str]:
    """Return the environment of gateway, Celery and commands: the caller's plus the stack's addresses."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE),
        "CYLLM_DATABASE_URL": database_url,
        "CYLLM_REDIS_URL": redis_url,
        "CYLLM_SECRET_KEY": local.secret_key or load_or_create_secret(local.state_dir / "secret_key"),
        "CYLLM_STATE_DIR": str(local.state_dir),
        "CYLLM_TRAINING_MODELS": trainable_models(local),
        "PYTHONUNBUFFERED": "1",
    }


def worker_environment(local: LocalSettings, platform: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the inference worker, without the database's address and the secret key."""
    variables = {name: value for name, value in platform.items() if name not in DATABASE_NAMES}
    overrides = {"CYLLM_WORKER_ID": worker_id(local), "CYLLM_WORKER_MODEL": served_model(local)}
    defaults = {
        "CYLLM_WORKER_ARTIFACT_DIR": str(local.state_dir.absolute() / "files" / "artifacts"),
        "CYLLM_WORKER_ADAPTER_CACHE_DIR": str(local.state_dir.absolute() / "adapters"),
    }
    if local.bundled_model:
        overrides["CYLLM_WORKER_MODEL_PATH"] = str(model_folder(local))
        defaults |= BUNDLED_MODEL_TOOLS
    return {**defaults, **variables, **overrides}


def trainable_models(local: LocalSettings) -> str:
    """Return the models that can be fine-tuned: by default the served one, if it is loaded from a folder."""
    if local.training_models or local.worker_engine != "vllm":
        return local.training_models
    return f"{served_model(local)}={model_folder(local).absolute()}"


def worker_id(local: LocalSettings) -> str:
    """Return the worker's name in the worker directory."""
    return local.worker_id or WORKER_ID


def served_model(local: LocalSettings) -> str:
    """Return the model's public name."""
    if local.worker_model:
        return local.worker_model
    return local.worker_model_path.name if local.worker_model_path else BUNDLED_MODEL


def model_folder(local: LocalSettings) -> Path:
    """Return the folder from which the engine loads the model."""
    return local.worker_model_path or local.state_dir / "models" / BUNDLED_MODEL


def model_sources(local: LocalSettings) -> dict[str, str]:
    """Return the names of the model and its adapters, with the folder of each."""
    model = str(model_folder(local)) if local.worker_engine == "vllm" else ""
    adapters = {adapter.name: str(adapter.folder) for adapter in local.worker_adapters}
    return {served_model(local): model, **adapters}


def publish_addresses(local: LocalSettings, platform: Mapping[str, str]) -> None:
    """Write the stack's addresses to a file for commands in other terminals."""
    names = (*REQUIRED_NAMES, "CYLLM_STATE_DIR", "CYLLM_TRAINING_MODELS")
    write_env(local.state_dir / STACK_FILE, {name: platform[name] for name in names})


def withdraw_addresses(local: LocalSettings) -> None:
    """Delete the file with the stack's addresses."""
    (local.state_dir / STACK_FILE).unlink(missing_ok=True)


def needs_servers(arguments: Sequence[str]) -> bool:
    """Return whether ``manage.py`` needs the stack for these arguments. Help and commands on files don't."""
    if not arguments or arguments[0] == "help" or not {"-h", "--help"}.isdisjoint(arguments):
        return False
    return arguments[:2] != ["datasets", "check"] and not verifies_file(arguments)


def verifies_file(arguments: Sequence[str]) -> bool:
    """Return whether arguments of ``manage.py`` verify an export of the audit trail, with its key alone."""
    return arguments[:2] == ["audit", "verify"] and any(each.startswith("--file") for each in arguments)


def load_addresses(environ: MutableMapping[str, str]) -> str | None:
    """Set unset addresses to those of the running local stack; return an error message with its remedy."""
    missing_names = [name for name in REQUIRED_NAMES if not environ.get(name)]
    if not missing_names:
        return None
    state_dir = Path(environ.get("CYLLM_STATE_DIR") or ROOT / ".cyllm")
    addresses = read_env(state_dir / STACK_FILE)
    if lock_holder(state_dir / LOCK_FILE) is None or not addresses:
        return (
            f"No local stack is running, and {', '.join(missing_names)} "
            f"{'is' if len(missing_names) == 1 else 'are'} not set.\n"
            "Start the stack in another terminal (make run), or set these variables "
            "to use another database and Redis (docs/settings.md)."
        )
    for name, value in addresses.items():
        environ.setdefault(name, value)
    return None
