"""The limits that a gateway holds are those that are set."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from api.gateway.stages.limits import Limits

# Settings say whose they are where a limit need not.
SETTINGS = {
    "max_requests": "gateway_max_requests",
    "tenant_share": "gateway_tenant_share",
    "held_body_bytes": "gateway_body_bytes",
    "cache_s": "key_cache_s",
}


def _limits(**changes: Any) -> dict[str, Any]:
    from cyllm_site.asgi import limits_of
    from cyllm_site.env import Settings

    return asdict(limits_of(Settings.model_construct(**changes)))


def test_without_settings_the_limits_are_those_of_the_gateway_itself() -> None:
    assert _limits() == asdict(Limits())


def test_every_limit_is_that_of_its_setting() -> None:
    numbers = {SETTINGS.get(name, name): number for number, name in enumerate(asdict(Limits()))}
    assert _limits(**numbers) == {name: numbers[SETTINGS.get(name, name)] for name in asdict(Limits())}
