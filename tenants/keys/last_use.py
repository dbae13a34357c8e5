"""Times at which keys were last used and last refused, written at most once a minute per key."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal, TypeAlias

from django.db.models import Q

from tenants.models import ApiKey

LastUse: TypeAlias = Literal["last_used_at", "last_refused_at"]
STEP = dt.timedelta(minutes=1)


def last_use_advance(key_id: uuid.UUID, at: dt.datetime, column: LastUse = "last_used_at") -> None:
    """Store the time if it is at least a minute later than the stored one."""
    is_older = Q(**{column: None}) | Q(**{f"{column}__lt": at - STEP})
    ApiKey.objects.filter(is_older, id=key_id).update(**{column: at})
