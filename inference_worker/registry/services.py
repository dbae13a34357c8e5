"""Changes of the registry. Each is audited, and the gateways are notified of it."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from inference_worker.protocol.prices import MAX_PRICE
from inference_worker.registry.journal import change_record
from inference_worker.registry.models import Adapter, ModelAlias, ModelGrant, ServedModel, validate_model_name

_LOCK = 0x6D6F646C


class ModelChanges(TypedDict, total=False):
    """New values of a model's fields.

    ``max_model_len`` is in tokens; None means the workers' own limit. Prices in micro-dollars per million
    tokens; without ``cached_price``, tokens from the prefix cache cost as much as other prompt tokens.
    """

    source: str
    max_model_len: int | None
    owned_by: str
    enabled: bool
    visibility: str
    prompt_price: int
    cached_price: int | None
    completion_price: int
    training_price: int


PRICES = ("prompt_price", "cached_price", "completion_price", "training_price")


def lock_names() -> None:
    """Let no other transaction change models until this one ends."""
    # Names and aliases share one namespace across two tables, which no constraint can enforce.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _audited_fields(model: ServedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "source": model.source,
        "max_model_len": model.max_model_len,
        "owned_by": model.owned_by,
        "enabled": model.enabled,
        "visibility": model.visibility,
        **{f"{name}_microusd_per_million_tokens": getattr(model, name) for name in PRICES},
    }


def _apply(model: ServedModel, changes: ModelChanges) -> None:
    model.source = changes.get("source", model.source)
    model.max_model_len = changes.get("max_model_len", model.max_model_len)
    model.owned_by = changes.get("owned_by", model.owned_by)
    model.enabled = changes.get("enabled", model.enabled)
    model.visibility = changes.get("visibility", model.visibility)
    model.prompt_price = changes.get("prompt_price", model.prompt_price)
    model.cached_price = changes.get("cached_price", model.cached_price)
    model.completion_price = changes.get("completion_price", model.completion_price)
    model.training_price = changes.get("training_price", model.training_price)
    model.full_clean()
    _check_prices(model)


def _check_prices(model: ServedModel) -> None:
    if any((getattr(model, name) or 0) > MAX_PRICE for name in PRICES):
        raise ValidationError(_("A price is at most $1,000,000 per million tokens."), code="price_too_high")
    if hasattr(model, "adapter") and any(getattr(model, name) for name in PRICES):
        raise ValidationError(
            _("%(name)s is an adapter: it has the prices of its base model, %(base)s.")
            % {"name": model.name, "base": model.adapter.base.name}
        )


@transaction.atomic
def model_register(*, name: str, actor: str, **changes: Unpack[ModelChanges]) -> ServedModel:
    """Create the model, or update the existing one of this name. Idempotent.

    Raises ValidationError for a bad name or value, or if the name is another model's alias.
    """
    validate_model_name(name)
    lock_names()
    model = ServedModel.objects.filter(name=name).first()
    if model is not None:
        return _update(model, actor, changes)
    alias = ModelAlias.objects.select_related("model").filter(alias=name).first()
    if alias is not None:
        raise ValidationError(
            _("%(name)s is an alias of %(model)s; remove the alias first.")
            % {"name": name, "model": alias.model.name}
        )
    model = ServedModel(name=name)
    _apply(model, changes)
    model.save()
    change_record(
        actor=actor, action="model.create", model_id=model.pk, model_name=name, after=_audited_fields(model)
    )
    return model


@transaction.atomic
def model_update(*, name: str, actor: str, **changes: Unpack[ModelChanges]) -> ServedModel:
    """Apply ``changes`` to a model. Raises ValidationError, ServedModel.DoesNotExist."""
    lock_names()
    return _update(ServedModel.objects.get(name=name), actor, changes)


def _update(model: ServedModel, actor: str, changes: ModelChanges) -> ServedModel:
    before = _audited_fields(model)
    _apply(model, changes)
    after = _audited_fields(model)
    if after != before:
        model.save()
        change_record(
            actor=actor,
            action="model.update",
            model_id=model.pk,
            model_name=model.name,
            before=before,
            after=after,
        )
    return model


@transaction.atomic
def model_remove(*, name: str, actor: str) -> None:
    """Remove a model with its aliases and grants.

    Raises ServedModel.DoesNotExist, and ValidationError if the model is or has an adapter.
    """
    lock_names()
    model = ServedModel.objects.get(name=name)
    _check_adapters(model)
    before = _audited_fields(model) | {"aliases": _aliases(model), "tenants": _tenant_ids(model)}
    change_record(actor=actor, action="model.remove", model_id=model.pk, model_name=name, before=before)
    model.delete()


def _check_adapters(model: ServedModel) -> None:
    names = list(model.adapters.order_by("model__name").values_list("model__name", flat=True))
    if names:
        raise ValidationError(
            _("%(name)s has adapters; delete them first: %(adapters)s")
            % {"name": model.name, "adapters": ", ".join(names)}
        )
    if Adapter.objects.filter(model=model).exists():
        raise ValidationError(_("%(name)s is an adapter; delete it as one.") % {"name": model.name})


def _aliases(model: ServedModel) -> list[str]:
    return list(model.aliases.order_by("alias").values_list("alias", flat=True))


class _ListChange:
    """The difference between two versions of a model's aliases or grants."""

    def __init__(self, before: Collection[str], after: Collection[str]) -> None:
        self.before, self.after = sorted(set(before)), sorted(set(after))
        self.additions = sorted(set(after) - set(before))
        self.removals = sorted(set(before) - set(after))

    def record(self, model: ServedModel, *, action: str, field: str, actor: str) -> None:
        """Append the change to the audit trail under the name ``field``, unless nothing changes."""
        if self.additions or self.removals:
            change_record(
                actor=actor,
                action=action,
                model_id=model.pk,
                model_name=model.name,
                before={field: self.before},
                after={field: self.after},
            )


@transaction.atomic
def alias_set(*, name: str, aliases: Collection[str], actor: str) -> None:
    """Replace the model's aliases.

    Raises ServedModel.DoesNotExist, and ValidationError for an alias that is invalid or in use by a model.
    """
    lock_names()
    model = ServedModel.objects.get(name=name)
    change = _ListChange(_aliases(model), aliases)
    for alias in change.additions:
        validate_model_name(alias)
        _check_unused(alias)
        ModelAlias.objects.create(model=model, alias=alias)
    model.aliases.filter(alias__in=change.removals).delete()
    change.record(model, action="model.aliases", field="aliases", actor=actor)


def _check_unused(alias: str) -> None:
    if ServedModel.objects.filter(name=alias).exists():
        raise ValidationError(_("%(alias)s is the name of a model.") % {"alias": alias})
    other = ModelAlias.objects.select_related("model").filter(alias=alias).first()
    if other is not None:
        raise ValidationError(
            _("%(alias)s is an alias of %(model)s.") % {"alias": alias, "model": other.model.name}
        )


def _tenant_ids(model: ServedModel) -> list[str]:
    return sorted(str(tenant_id) for tenant_id in model.grants.values_list("tenant_id", flat=True))


@transaction.atomic
def grant_set(*, name: str, tenant_ids: Collection[uuid.UUID], actor: str) -> None:
    """Replace the tenants that may use the model if it is restricted. A public model ignores grants.

    Raises ServedModel.DoesNotExist.
    """
    lock_names()
    model = ServedModel.objects.get(name=name)
    change = _ListChange(_tenant_ids(model), [str(tenant_id) for tenant_id in tenant_ids])
    for tenant_id in change.additions:
        ModelGrant.objects.create(model=model, tenant_id=uuid.UUID(tenant_id))
    model.grants.filter(tenant_id__in=change.removals).delete()
    change.record(model, action="model.grants", field="tenants", actor=actor)
