"""What each process of the stack finds in its environment, and what ``manage.py`` reads back."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from deploy.local.demo.default_model import NAME as BUNDLED_MODEL
from deploy.local.files import read_env, secret, write_env
from deploy.local.processes.lock import lock_holder
from deploy.local.settings import ROOT, LocalSettings

STACK_FILE = "stack.env"
DEMO_FILE = "demo.env"
LOCK_FILE = "lock"
WORKER_ID = "local-1"
DATABASE_NAMES = ("CYLLM_DATABASE_URL", "CYLLM_SECRET_KEY")
NEEDED = ("CYLLM_DATABASE_URL", "CYLLM_REDIS_URL", "CYLLM_SECRET_KEY")
SETTINGS_MODULE = "cyllm_site.settings.base"
# The bundled model's own template knows no tools.
BUNDLED_MODEL_TOOLS = {
    "CYLLM_WORKER_TOOL_PARSER": "hermes",
    "CYLLM_WORKER_CHAT_TEMPLATE": str(Path(__file__).with_name("smollm2.jinja")),
}


def platform_environment(local: LocalSettings, *, database_url: str, redis_url: str) -> dict[str, str]:
    """For gateway, Celery and commands: the caller's own environment and the stack's addresses."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE),
        "CYLLM_DATABASE_URL": database_url,
        "CYLLM_REDIS_URL": redis_url,
        "CYLLM_SECRET_KEY": local.secret_key or secret(local.state_dir / "secret_key"),
        "CYLLM_STATE_DIR": str(local.state_dir),
        "PYTHONUNBUFFERED": "1",
    }


def worker_environment(local: LocalSettings, platform: Mapping[str, str]) -> dict[str, str]:
    """For the inference worker, which has no business with the database."""
    inherited = {name: value for name, value in platform.items() if name not in DATABASE_NAMES}
    decided = {"CYLLM_WORKER_ID": worker_id(local), "CYLLM_WORKER_MODEL": served_model(local)}
    suggested = {}
    if local.bundled_model:
        decided["CYLLM_WORKER_MODEL_PATH"] = str(model_folder(local))
        suggested = BUNDLED_MODEL_TOOLS
    return {**suggested, **inherited, **decided}


def worker_id(local: LocalSettings) -> str:
    """The name under which the worker says how it is."""
    return local.worker_id or WORKER_ID


def served_model(local: LocalSettings) -> str:
    """The name under which the model is served."""
    if local.worker_model:
        return local.worker_model
    return local.worker_model_path.name if local.worker_model_path else BUNDLED_MODEL


def model_folder(local: LocalSettings) -> Path:
    """Where the engine finds the model."""
    return local.worker_model_path or local.state_dir / "models" / BUNDLED_MODEL


def served_sources(local: LocalSettings) -> dict[str, str]:
    """Every name that the worker serves, its adapters' too, and where it finds what is behind it."""
    model = str(model_folder(local)) if local.worker_engine == "vllm" else ""
    adapters = {adapter.name: str(adapter.folder) for adapter in local.worker_adapters}
    return {served_model(local): model, **adapters}


def stack_publish(local: LocalSettings, platform: Mapping[str, str]) -> None:
    """Leave the addresses for commands in a second terminal."""
    names = (*NEEDED, "CYLLM_STATE_DIR")
    write_env(local.state_dir / STACK_FILE, {name: platform[name] for name in names})


def stack_withdraw(local: LocalSettings) -> None:
    """The stack is gone, and its addresses with it."""
    (local.state_dir / STACK_FILE).unlink(missing_ok=True)


def stack_join(environ: MutableMapping[str, str]) -> str | None:
    """Set what is not set from a running local stack; returns what is wrong, with the remedy."""
    missing = [name for name in NEEDED if not environ.get(name)]
    if not missing:
        return None
    state_dir = Path(environ.get("CYLLM_STATE_DIR") or ROOT / ".cyllm")
    published = read_env(state_dir / STACK_FILE)
    if lock_holder(state_dir / LOCK_FILE) is None or not published:
        return (
            f"No local stack is running here, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set.\n"
            "Start the stack in another terminal (make run), or set these names "
            "for the database and Redis that you mean (docs/settings.md)."
        )
    for name, value in published.items():
        environ.setdefault(name, value)
    return None
