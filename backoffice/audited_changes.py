"""Declaration of the changes that an application records in the audit trail, on its AppConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.utils.functional import Promise


@dataclass(frozen=True, slots=True)
class AuditedChanges:
    """The attribute ``audited_changes`` of an AppConfig, which makes the application's changes readable.

    An action is named ``kind.verb``. ``models`` gives the labels of the models whose columns the changes of
    a kind record, and ``labels`` the names of recorded values that aren't columns. ``phrases`` describe an
    action without its object, as on a tenant's own audit page; ``verbs`` stand between an actor and an
    object. An action that has no verb is described by its phrase.
    """

    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, Promise] = field(default_factory=dict)
    phrases: Mapping[str, Promise] = field(default_factory=dict)
    verbs: Mapping[str, Promise] = field(default_factory=dict)
