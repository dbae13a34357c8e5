"""Everything that changes the registry; each change is audited and pushed to the gateways."""

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
    """What of a model can be set; ``max_model_len`` in tokens, None: as the workers say."""

    source: str
    max_model_len: int | None
    owned_by: str
    enabled: bool
    visibility: str


def _lock() -> None:
    # Names and aliases share one space over two tables, which no constraint can hold.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _facts(model: ServedModel) -> dict[str, object]:
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
    """The model of this name, made if it is not there, with ``changes`` set; repeating changes nothing.

    Raises ValidationError (bad name or value, the name is another model's alias).
    """
    name_form(name)
    _lock()
    model = ServedModel.objects.filter(name=name).first()
    if model is not None:
        return _update(model, actor, changes)
    taken = ModelAlias.objects.select_related("model").filter(alias=name).first()
    if taken is not None:
        raise ValidationError(
            _("%(name)s is an alias of %(model)s; remove the alias first.")
            % {"name": name, "model": taken.model.name}
        )
    model = ServedModel(name=name)
    _apply(model, changes)
    model.save()
    change_record(actor=actor, action="model.create", model_id=model.pk, model_name=name, after=_facts(model))
    return model


@transaction.atomic
def model_update(*, name: str, actor: str, **changes: Unpack[ModelChanges]) -> ServedModel:
    """Set what ``changes`` names. Raises ValidationError, ServedModel.DoesNotExist."""
    _lock()
    return _update(ServedModel.objects.get(name=name), actor, changes)


def _update(model: ServedModel, actor: str, changes: ModelChanges) -> ServedModel:
    before = _facts(model)
    _apply(model, changes)
    after = _facts(model)
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
    """Take a model, its aliases and grants out of the registry. Raises ServedModel.DoesNotExist."""
    _lock()
    model = ServedModel.objects.get(name=name)
    before = _facts(model) | {"aliases": _aliases(model), "tenants": _tenant_ids(model)}
    change_record(actor=actor, action="model.remove", model_id=model.pk, model_name=name, before=before)
    model.delete()


def _aliases(model: ServedModel) -> list[str]:
    return list(model.aliases.order_by("alias").values_list("alias", flat=True))


class _Change:
    """What a list of a model's is to lose and gain."""

    def __init__(self, before: Collection[str], after: Collection[str]) -> None:
        self.before, self.after = sorted(set(before)), sorted(set(after))
        self.added = sorted(set(after) - set(before))
        self.removed = sorted(set(before) - set(after))

    def record(self, model: ServedModel, *, action: str, shown: str, actor: str) -> None:
        """Append the change to the trail, if it is one; ``shown`` is what the list is called there."""
        if self.added or self.removed:
            change_record(
                actor=actor,
                action=action,
                model_id=model.pk,
                model_name=model.name,
                before={shown: self.before},
                after={shown: self.after},
            )


@transaction.atomic
def alias_set(*, name: str, aliases: Collection[str], actor: str) -> None:
    """Make ``aliases`` the model's only other names.

    Raises ValidationError (bad form, taken by another model as name or alias), ServedModel.DoesNotExist.
    """
    _lock()
    model = ServedModel.objects.get(name=name)
    change = _Change(_aliases(model), aliases)
    for alias in change.added:
        name_form(alias)
        _check_free(alias)
        ModelAlias.objects.create(model=model, alias=alias)
    model.aliases.filter(alias__in=change.removed).delete()
    change.record(model, action="model.aliases", shown="aliases", actor=actor)


def _check_free(alias: str) -> None:
    if ServedModel.objects.filter(name=alias).exists():
        raise ValidationError(_("%(alias)s is the name of a model.") % {"alias": alias})
    taken = ModelAlias.objects.select_related("model").filter(alias=alias).first()
    if taken is not None:
        raise ValidationError(
            _("%(alias)s is an alias of %(model)s.") % {"alias": alias, "model": taken.model.name}
        )


def _tenant_ids(model: ServedModel) -> list[str]:
    return sorted(str(tenant_id) for tenant_id in model.grants.values_list("tenant_id", flat=True))


@transaction.atomic
def grant_set(*, name: str, tenant_ids: Collection[uuid.UUID], actor: str) -> None:
    """Make these the only tenants that a restricted model is granted to; a public one ignores grants.

    Raises ServedModel.DoesNotExist.
    """
    _lock()
    model = ServedModel.objects.get(name=name)
    change = _Change(_tenant_ids(model), [str(tenant_id) for tenant_id in tenant_ids])
    for tenant_id in change.added:
        ModelGrant.objects.create(model=model, tenant_id=uuid.UUID(tenant_id))
    model.grants.filter(tenant_id__in=change.removed).delete()
    change.record(model, action="model.grants", shown="tenants", actor=actor)
