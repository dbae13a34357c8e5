"""Models and texts of audited changes, collected from the applications that make them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from django.apps import apps
from django.utils.functional import Promise

from backoffice.audited_changes import AuditedChanges


@cache
def audited_changes() -> AuditedChanges:
    """Return the declarations of all installed applications as one."""
    models: dict[str, Sequence[str]] = {}
    labels: dict[str, Promise] = {}
    phrases: dict[str, Promise] = {}
    verbs: dict[str, Promise] = {}
    for config in apps.get_app_configs():
        declaration = getattr(config, "audited_changes", None)
        if isinstance(declaration, AuditedChanges):
            models.update(declaration.models)
            labels.update(declaration.labels)
            phrases.update(declaration.phrases)
            verbs.update(declaration.verbs)
    return AuditedChanges(models, labels, phrases, verbs)


def phrase(action: str) -> str:
    """Return the phrase for an action in the current language; the action's code if there is none."""
    return str(audited_changes().phrases.get(action, action))


def verb(action: str) -> str:
    """Return the verb for an action in the current language; the action's code if there is none."""
    changes = audited_changes()
    return str(changes.verbs.get(action) or changes.phrases.get(action) or action)
