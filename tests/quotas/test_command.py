"""``manage.py quotas`` shows the counters beside the ledger, and rebuilds them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis
from django.core.management.base import CommandError

from tenants.quotas.amounts import utc_day
from tenants.quotas.counters import names
from tenants.quotas.rebuild import counters_rebuild
from tenants.services import tenant_update
from tests import commands
from tests.quotas.world import COST, RESERVED, World
from tests.tenants.facts import write_facts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick_rebuilds")]


def run(*arguments: str) -> str:
    return commands.run("quotas", *arguments)


def test_the_command_shows_redis_and_ledger_side_by_side(world: World) -> None:
    tenant_update(
        tenant_id=world.tenant.id, actor="tests", spend_per_day_microusd=10_000, requests_per_minute=5
    )
    write_facts(world.client, *world.settled_facts("settled"), world.started("open"))
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("unrecorded")
    rows = {
        row["limit"]: row
        for row in json.loads(run("show", "--tenant", "acme", "--json"))
        if row["holder"] == "tenant"
    }
    day = rows["day"]
    assert (day["value"], day["used"], day["reserved"], day["remaining"]) == (
        10_000,
        COST + 2 * RESERVED,
        2 * RESERVED,
        10_000 - COST - 2 * RESERVED,
    )
    assert day["ledger"] == COST + RESERVED
    assert 0 < day["resets_in_s"] <= 86_400
    assert (rows["requests"]["used"], rows["requests"]["ledger"]) == (3, 2)
    text = run("show", "--tenant", "acme")
    assert "spend per day" in text
    assert "$0.01" in text
    everything = json.loads(run("show", "--all", "--json"))
    assert len(everything) == 2 * 5, "five limits of the tenant and of its key"


def test_the_command_rebuilds_the_counters(world: World) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.client.hset(names.tenant_counters(world.tenant_id), f"m{utc_day(world.now)[:6]}", 7000)
    write_facts(world.client, *world.settled_facts("settled"))
    assert world.spend == 7000
    assert "Rebuilt the counters of acme" in run("rebuild", "--tenant", "acme")
    with pytest.raises(CommandError, match="--tenant"):
        run("rebuild")
    assert world.spend == COST


def test_the_command_names_a_redis_that_is_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenants.management.commands import quotas

    monkeypatch.setattr(quotas, "_client", lambda: redis.Redis(port=1))
    actions: list[Callable[[], str]] = [lambda: run("show"), lambda: run("rebuild", "--tenant", "acme")]
    for action in actions:
        with pytest.raises(CommandError, match="Redis is unavailable"):
            action()
