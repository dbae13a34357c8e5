"""Names of tenants, which are in a package that this one may not import.

The setting ``TENANT_NAMES`` names the function that returns them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.utils.module_loading import import_string


def tenant_names() -> dict[uuid.UUID, str]:
    """Return the short names of all tenants by id, in order."""
    names = cast("Callable[[], dict[uuid.UUID, str]]", import_string(settings.TENANT_NAMES))
    return names()
