"""Content security policies: a strict one for all pages, and what the admin's theme needs beyond it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase
from typing_extensions import override

# Files of this site only: no inline script, no inline style, no other host.
STRICT: dict[str, list[str]] = {
    "default-src": [SELF],
    "script-src": [SELF],
    "style-src": [SELF],
    # Icons of the API reference and of form elements are data URLs in style sheets.
    "img-src": [SELF, "data:"],
    "connect-src": [SELF],
    "object-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# Unfold's templates hold expressions for Alpine.js, which compiles them as functions. There is no build of
# Alpine without this that knows the expressions used. Inline scripts and styles stay forbidden.
ADMIN: dict[str, list[str]] = {**STRICT, "script-src": [SELF, UNSAFE_EVAL]}
ADMIN_ROOT = "/admin/"


class ContentSecurityPolicy(CSPMiddleware):
    """Adds the policy to every response."""

    @override
    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and request.path_info.startswith(ADMIN_ROOT):
            replacement: Any = deepcopy(ADMIN)
            parts.replace = replacement
        return parts
