"""Changes of the registry. Each is audited, and the gateways are notified of it."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from inference_worker.registry.journal import change_record
from inference_worker.registry.models import ModelAlias, ModelGrant, ServedModel, name_form

_LOCK = 0x6D6F646C


class ModelChanges(TypedDict, total=False):
    """New values of a model's fields. ``max_model_len`` is in tokens; None means the workers' own limit."""

    source: str
    max_model_len: int | None
    owned_by: str
    enabled: bool
    visibility: str


def _lock() -> None:
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
    }


def _apply(model: ServedModel, changes: ModelChanges) -> None:
    model.source = changes.get("source", model.source)
    model.max_model_len = changes.get("max_model_len", model.max_model_len)
    model.owned_by = changes.get("owned_by", model.owned_by)
    model.enabled = changes.get("enabled", model.enabled)
    model.visibility = changes.get("visibility", model.visibility)
    model.full_clean()


@transaction.atomic
def model_register(*, name: str, actor: str, **changes: Unpack[ModelChanges]) -> ServedModel:
    """Create the model, or update the existing one of this name. Idempotent.

    Raises ValidationError for a bad name or value, or if the name is another model's alias.
    """
    name_form(name)
    _lock()
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
    _lock()
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
    """Remove a model with its aliases and grants. Raises ServedModel.DoesNotExist."""
    _lock()
    model = ServedModel.objects.get(name=name)
    before = _audited_fields(model) | {"aliases": _aliases(model), "tenants": _tenant_ids(model)}
    change_record(actor=actor, action="model.remove", model_id=model.pk, model_name=name, before=before)
    model.delete()


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
    _lock()
    model = ServedModel.objects.get(name=name)
    change = _ListChange(_aliases(model), aliases)
    for alias in change.additions:
        name_form(alias)
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
    _lock()
    model = ServedModel.objects.get(name=name)
    change = _ListChange(_tenant_ids(model), [str(tenant_id) for tenant_id in tenant_ids])
    for tenant_id in change.additions:
        ModelGrant.objects.create(model=model, tenant_id=uuid.UUID(tenant_id))
    model.grants.filter(tenant_id__in=change.removals).delete()
    change.record(model, action="model.grants", field="tenants", actor=actor)
