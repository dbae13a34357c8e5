"""Limits, tiers, networks and prices are set by services, pages and commands, with an audit row."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from backoffice.display.money import LARGEST_MICROUSD, dollars, microusd_parse
from inference_worker.registry import services as registry
from inference_worker.registry.models import Adapter, ServedModel
from tenants import services
from tenants.keys import services as key_services
from tenants.keys.networks import is_allowed_address, networks_normalise
from tenants.limits.columns import UsageLimits
from tenants.models import AdminAudit, ApiKey, Tenant
from tests.people import Cast

pytestmark = pytest.mark.django_db


def register(*names: str) -> None:
    """Register public models."""
    for name in names:
        registry.model_register(name=name, actor="tests")


@given(st.integers(0, LARGEST_MICROUSD))
def test_dollars_have_all_digits_of_the_micro_dollars(amount: int) -> None:
    assert microusd_parse(dollars(amount)) == amount


def test_dollars_are_written_with_two_decimals_or_more() -> None:
    assert [dollars(amount) for amount in (12_500_000, 0, 123, -1_000_001)] == [
        *("12.50", "0.00", "0.000123", "-1.000001")
    ]


@pytest.mark.parametrize("text", ["", "12,50", "-1", "1.1234567", "1e3", "NaN", "٣", "9" * 13, "1."])
def test_a_text_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        microusd_parse(text)


def test_changed_limits_of_a_tenant_are_audited_with_their_units(cast: Cast) -> None:
    register("a", "b")
    services.tenant_update(
        tenant_id=cast.acme.id,
        actor="user:boss",
        spend_per_month_microusd=12_500_000,
        requests_per_minute=60,
        allowed_models=["b", "a", "a "],
        tier="priority",
    )
    tenant = Tenant.objects.get(id=cast.acme.id)
    assert tenant.limits() == UsageLimits(
        requests_per_minute=60, spend_per_month_microusd=12_500_000, allowed_models=frozenset({"a", "b"})
    )
    change = AdminAudit.objects.filter(action="tenant.update").latest("id")
    assert change.before == {
        "tier": "standard",
        "requests_per_minute": None,
        "spend_per_month_microusd": None,
        "allowed_models": [],
    }
    assert change.after == {
        "tier": "priority",
        "requests_per_minute": 60,
        "spend_per_month_microusd": 12_500_000,
        "allowed_models": ["a", "b"],
    }
    services.tenant_update(tenant_id=cast.acme.id, actor="tests", requests_per_minute=None)
    assert Tenant.objects.get(id=cast.acme.id).requests_per_minute is None


def test_a_new_tenant_and_key_can_have_limits(cast: Cast) -> None:
    tenant = services.tenant_create(slug="new", name="New", actor="tests", tier="batch", stored_bytes=10)
    assert (tenant.tier, tenant.stored_bytes) == ("batch", 10)
    key, _ = key_services.key_create(
        tenant=tenant,
        name="k",
        actor="tests",
        concurrent_requests=2,
        allowed_networks=["2001:DB8::/32", "192.0.2.7"],
    )
    key.refresh_from_db()
    assert key.concurrent_requests == 2
    assert key.allowed_networks == ["192.0.2.7/32", "2001:db8::/32"]
    successor, _ = key_services.key_rotate(key_id=key.id, grace_s=0, actor="tests")
    assert (successor.limits(), successor.allowed_networks) == (key.limits(), key.allowed_networks)


def test_keys_allow_models_of_their_tenant_only_and_keep_those_that_are_removed(cast: Cast) -> None:
    register("a")
    registry.alias_set(name="a", aliases=["first"], actor="tests")
    registry.model_register(name="private", visibility="restricted", actor="tests")
    registry.grant_set(name="private", tenant_ids=[cast.globex.id], actor="tests")
    key, globex_key = ApiKey.objects.get(name="acme"), ApiKey.objects.get(name="globex")
    for name in ("private", "absent"):
        with pytest.raises(ValidationError, match=f"No such model: {name}. Choose from: a, first."):
            key_services.key_update(key_id=key.id, actor="tests", allowed_models=["a", name])
    key_services.key_update(key_id=globex_key.id, actor="tests", allowed_models=["private"])
    key_services.key_update(key_id=key.id, actor="tests", allowed_models=["first"])
    registry.model_remove(name="a", actor="tests")
    updated_key = key_services.key_update(key_id=key.id, actor="tests", name="still")
    assert (updated_key.name, updated_key.allowed_models) == ("still", ["first"])


@pytest.mark.parametrize(
    "settings", [{"tier": "gold"}, {"requests_per_minute": -1}, {"tokens_per_minute": 2**31}]
)
def test_a_bad_setting_is_refused_and_nothing_changes(cast: Cast, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        services.tenant_update(tenant_id=cast.acme.id, actor="tests", **settings)
    assert not AdminAudit.objects.filter(action="tenant.update").exists()


def test_a_network_with_address_bits_outside_its_mask_is_refused_with_the_network_that_was_meant() -> None:
    with pytest.raises(ValidationError, match=r"Did you mean 10\.0\.0\.0/8"):
        networks_normalise(["10.0.0.5/8"])
    with pytest.raises(ValidationError, match="is not a network"):
        networks_normalise(["office"])
    with pytest.raises(ValidationError, match="At most 100"):
        networks_normalise([f"192.0.{number}.0/24" for number in range(101)])


@pytest.mark.parametrize(
    ("address", "networks", "is_allowed"),
    [
        ("203.0.113.9", (), True),
        (None, (), True),
        ("192.0.2.9", ("192.0.2.0/24",), True),
        ("::ffff:192.0.2.9", ("192.0.2.0/24",), True),
        ("192.0.3.9", ("192.0.2.0/24", "2001:db8::/32"), False),
        ("2001:db8::1", ("192.0.2.0/24", "2001:db8::/32"), True),
        ("", ("192.0.2.0/24",), False),
        ("unknown", ("0.0.0.0/0",), False),
    ],
)
def test_an_address_is_allowed_in_a_network(
    address: str | None, networks: tuple[str, ...], is_allowed: bool
) -> None:
    assert is_allowed_address(address, networks) is is_allowed


def test_networks_of_mapped_addresses_are_stored_as_ipv4() -> None:
    assert networks_normalise(["::ffff:192.0.2.0/120", " 192.0.2.0/24 ", ""]) == ["192.0.2.0/24"]


def test_prices_of_a_model_are_audited_in_micro_dollars(cast: Cast) -> None:
    registry.model_register(name="priced", actor="tests", prompt_price=250_000)
    registry.model_update(name="priced", actor="tests", prompt_price=300_000, cached_price=30_000)
    change = AdminAudit.objects.filter(action="model.update").latest("id")
    unit = "microusd_per_million_tokens"
    assert change.before == {f"prompt_price_{unit}": 250_000, f"cached_price_{unit}": None}
    assert change.after == {f"prompt_price_{unit}": 300_000, f"cached_price_{unit}": 30_000}
    registry.model_update(name="priced", actor="tests", cached_price=None)
    assert ServedModel.objects.get(name="priced").cached_price is None


def run(*arguments: str) -> Any:
    """Run a command and return its JSON output."""
    output = StringIO()
    call_command(*arguments, "--json", stdout=output)
    return json.loads(output.getvalue())


def test_commands_set_show_and_clear_limits(cast: Cast) -> None:
    row = run("tenants", "update", "acme", "--spend-per-month", "12.50", "--requests-per-minute", "60")
    assert (row["spend_per_month"], row["requests_per_minute"]) == ("12.50", 60)
    assert Tenant.objects.get(slug="acme").spend_per_month_microusd == 12_500_000
    (listing, _) = run("tenants", "list")
    assert listing["limits"] == ["60 requests/min", "$12.50/month"]
    row = run("tenants", "update", "acme", "--spend-per-month", "none", "--tier", "batch")
    assert (row["spend_per_month"], row["requests_per_minute"], row["tier"]) == (None, 60, "batch")
    assert run("tenants", "show", "acme") == row
    with pytest.raises(CommandError, match="is not an amount in dollars"):
        run("tenants", "update", "acme", "--spend-per-day", "12,50")
    text = StringIO()
    call_command("tenants", "show", "acme", stdout=text)
    assert "requests_per_minute" in text.getvalue()


def test_commands_set_networks_limits_and_holders_of_keys(cast: Cast) -> None:
    register("a")
    run("tenants", "accounts", "acme", "--add", "nightly")
    options = ("--tenant", "acme", "--name", "n", "--service-account", "nightly", "--network", "192.0.2.0/24")
    creation = run("keys", "create", *options, "--tokens-per-minute", "1000")
    assert creation["holder"] == "nightly"
    assert creation["allowed_networks"] == ["192.0.2.0/24"]
    assert creation["tokens_per_minute"] == 1000
    prefix = creation["prefix"]
    update = run(
        *("keys", "update", prefix, "--network", "none", "--scope", "models.read", "--days", "1"),
        *("--tokens-per-minute", "none", "--allowed-model", "a", "--name", "renamed"),
    )
    assert (update["allowed_networks"], update["scopes"]) == ([], ["models.read"])
    assert (update["allowed_models"], update["name"]) == (["a"], "renamed")
    assert update["expires_at"] is not None
    assert run("keys", "update", prefix, "--days", "none")["expires_at"] is None
    with pytest.raises(CommandError, match=r"No such model: b\. Choose from: a\."):
        run("keys", "update", prefix, "--allowed-model", "b")
    with pytest.raises(CommandError, match="Nothing to change"):
        run("keys", "update", prefix)
    with pytest.raises(CommandError, match="Did you mean nightly"):
        run("tenants", "accounts", "acme", "--remove", "nightl")
    assert run("tenants", "accounts", "acme", "--remove", "nightly") == []
    assert ApiKey.objects.get(prefix=prefix).revoked_at is not None


def test_commands_set_prices(cast: Cast) -> None:
    run("models", "add", "priced", "--prompt-price", "0.25", "--cached-price", "0.025")
    model = ServedModel.objects.get(name="priced")
    assert (model.prompt_price, model.cached_price) == (250_000, 25_000)
    row = run("models", "update", "priced", "--cached-price", "none", "--completion-price", "1")
    assert (row["prompt_price"], row["cached_price"], row["completion_price"]) == ("0.25", None, "1.00")


def form_values(client: Client, page: str) -> dict[str, Any]:
    """Return the values with which a form page is shown."""
    form = client.get(page).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    prepared_values = {name: form.fields[name].prepare_value(value) for name, value in values.items()}
    return {name: value for name, value in prepared_values.items() if value not in (None, False)}


def test_the_admin_shows_and_takes_spend_in_dollars(admin: Client, cast: Cast) -> None:
    register("a", "b")
    page = f"/admin/tenants/tenant/{cast.acme.id}/change/"
    services.tenant_update(tenant_id=cast.acme.id, actor="tests", spend_per_day_microusd=1_000_001)
    values = form_values(admin, page)
    assert values["spend_per_day_microusd"] == "1.000001"
    answer = admin.post(page, values | {"spend_per_month_microusd": "12.5", "allowed_models": "a\nb"})
    assert answer.status_code == 302
    tenant = Tenant.objects.get(id=cast.acme.id)
    assert (tenant.spend_per_day_microusd, tenant.spend_per_month_microusd) == (1_000_001, 12_500_000)
    assert tenant.allowed_models == ["a", "b"]
    answer = admin.post(page, values | {"allowed_models": "c"}, follow=True)
    assert "No such model: c. Choose from: a, b." in answer.content.decode()
    answer = admin.post(page, values | {"spend_per_month_microusd": "many"})
    assert "many is not an amount in dollars" in answer.content.decode()
    assert "$12.50/month" in admin.get("/admin/tenants/tenant/").content.decode()


def test_the_admin_sets_networks_and_limits_of_keys(admin: Client, cast: Cast) -> None:
    key = ApiKey.objects.get(name="acme")
    page = f"/admin/tenants/apikey/{key.pk}/change/"
    values = form_values(admin, page) | {"expires_at_0": "", "expires_at_1": ""}
    answer = admin.post(page, values | {"allowed_networks": "192.0.2.9", "requests_per_minute": "5"})
    assert answer.status_code == 302
    key.refresh_from_db()
    assert (key.allowed_networks, key.requests_per_minute) == (["192.0.2.9/32"], 5)
    answer = admin.post(page, values | {"allowed_networks": "10.0.0.5/8"}, follow=True)
    assert "Did you mean 10.0.0.0/8?" in answer.content.decode()


def test_members_of_a_tenant_can_not_raise_its_limits(cast: Cast) -> None:
    from django.contrib.auth.models import Permission

    User.objects.filter(pk=cast.owner.pk).update(is_staff=True)
    cast.owner.user_permissions.set(Permission.objects.filter(content_type__app_label="tenants"))
    client = Client()
    client.force_login(User.objects.get(pk=cast.owner.pk))
    page = f"/admin/tenants/tenant/{cast.acme.id}/change/"
    answer = client.post(
        page, {"slug": "acme", "name": "Acme 2", "requests_per_minute": "999", "tier": "priority"}
    )
    assert answer.status_code == 302
    tenant = Tenant.objects.get(id=cast.acme.id)
    assert (tenant.name, tenant.requests_per_minute, tenant.tier) == ("Acme 2", None, "standard")
    assert tenant.active


def test_the_admin_takes_prices_in_dollars(admin: Client, cast: Cast) -> None:
    registry.model_register(name="priced", actor="tests")
    model = ServedModel.objects.get(name="priced")
    page = f"/admin/registry/servedmodel/{model.pk}/change/"
    values = form_values(admin, page)
    answer = admin.post(page, values | {"prompt_price": "0.25", "completion_price": ""})
    assert answer.status_code == 302
    model.refresh_from_db()
    assert (model.prompt_price, model.completion_price, model.cached_price) == (250_000, 0, None)
    assert "$0.25 / $0.00" in admin.get("/admin/registry/servedmodel/").content.decode()
    adapter = ServedModel.objects.create(name="ft:priced", visibility="restricted")
    Adapter.objects.create(
        model=adapter, base=model, sha256="0" * 64, rank=8, size_bytes=1, tenant_id=cast.acme.id, job_id=""
    )
    assert admin.get("/admin/registry/servedmodel/").content.decode().count("$0.25 / $0.00") == 2
