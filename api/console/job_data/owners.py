"""Names of the people and keys that created jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.utils.translation import gettext

from tenants.keys.selectors import KEY_ACTOR
from tenants.models import ApiKey

PERSON = "user:"


def owner_names(tenant_id: uuid.UUID, creators: Iterable[str]) -> dict[str, str]:
    """Return the name of each creator (``created_by`` of jobs): a person's, or that of a key and its holder.

    A key that doesn't exist any more is named by its prefix. One query if any creator is a key.
    """
    creators = set(creators)
    prefixes = [creator.removeprefix(KEY_ACTOR) for creator in creators if creator.startswith(KEY_ACTOR)]
    # Without prefixes, Django makes no query.
    keys = ApiKey.objects.filter(tenant=tenant_id, prefix__in=prefixes)
    columns = ("prefix", "name", "user__username", "service_account__name")
    names = {creator: creator.removeprefix(PERSON) for creator in creators}
    for prefix, name, person, account in keys.values_list(*columns):
        names[KEY_ACTOR + prefix] = _key_name(name, person or account or "")
    return names


def _key_name(name: str, holder: str) -> str:
    if not holder:
        return gettext("key “%(name)s”") % {"name": name}
    return gettext("%(holder)s, key “%(name)s”") % {"holder": holder, "name": name}
