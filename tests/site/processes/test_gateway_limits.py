"""The gateway's limits come from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from api.gateway.settings import Limits
from cyllm_site.settings.env import PREFIX, Settings

REQUIRED = {
    "CYLLM_DATABASE_URL": "postgresql://u:p@localhost/x",
    "CYLLM_REDIS_URL": "redis://localhost/0",
    "CYLLM_SECRET_KEY": "s" * 40,
}


def _limits(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> dict[str, Any]:
    for name in Limits.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    for name, value in {**REQUIRED, **environment}.items():
        monkeypatch.setenv(name, value)
    return Settings().model_dump(include=set(Limits.model_fields))


def test_unset_limits_have_the_gateways_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _limits(monkeypatch, {}) == Limits().model_dump()


TEXTS = {
    "allowed_origins": "https://console.example",
    "file_storage_url": "s3://bucket/folder",
    "internal_url": "http://gateway:8000",
}


def _other_value(name: str, value: str | float | None) -> str | float:
    if isinstance(value, str):
        return TEXTS[name]
    if value is None:
        return 7
    return value / 2 if isinstance(value, float) else value + 1


def test_every_limit_is_read_from_its_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: _other_value(name, value) for name, value in Limits().model_dump().items()}
    environment = {PREFIX + name.upper(): str(value) for name, value in values.items()}
    assert _limits(monkeypatch, environment) == values


async def test_the_site_starts_the_gateway_with_the_settings(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    from cyllm_site import asgi

    arguments: dict[str, Any] = {}

    def record(**values: Any) -> Any:
        arguments.update(values)
        raise RuntimeError

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Mapping[str, Any]) -> None:
        assert message["type"] == "lifespan.startup.failed"

    monkeypatch.setattr(asgi, "gateway_process", record)
    await asgi.Site().lifespan({"type": "lifespan"}, receive, send)
    assert arguments["limits"] is settings.CYLLM


@pytest.mark.parametrize(
    ("name", "value"), [("CYLLM_INTERNAL_URL", "gateway:8000"), ("CYLLM_BROKER_URL", "http://broker")]
)
def test_an_address_of_the_wrong_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(ValueError, match="Value error"):
        _limits(monkeypatch, {name: value})
