"""Rendering of console pages: navigation, tenant switcher, breadcrumbs and theme for the base template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from api.console.access import ConsoleRequest, TenantRequest, has_role, tenants_of
from tenants.choices import Role

THEME_COOKIE = "cyllm_theme"
THEMES = ("light", "dark", "system")


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the sidebar. ``role``: the lowest role that sees it."""

    name: str
    title: Promise
    url_name: str
    shortcut: str
    role: Role = Role.VIEWER


TENANT_SECTIONS = (
    Section("jobs", _("Jobs"), "console:jobs", "j"),
    Section("files", _("Files"), "console:files", "f"),
    Section("models", _("Models"), "console:models", "m"),
    Section("playground", _("Playground"), "console:playground", "p"),
    Section("usage", _("Usage"), "console:usage", "u"),
    Section("keys", _("Keys"), "console:keys", "k"),
    Section("audit", _("Audit"), "console:audit", "a"),
    Section("members", _("Members"), "console:members", "e"),
)
OPERATOR_SECTIONS = (
    Section("status", _("Status"), "console:status", "s"),
    Section("admin", _("Admin"), "admin:index", "d"),
)
ACCOUNT_SECTIONS = (Section("two-factor", _("Second factor"), "two-factor", "2"),)


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the navigation or the breadcrumbs; ``address`` is empty for the page itself."""

    title: Promise | str
    address: str = ""
    name: str = ""
    shortcut: str = ""
    is_current: bool = False


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, object],
    *,
    section: str = "",
    title: str,
    crumbs: Sequence[Link] = (),
    status: int = 200,
) -> HttpResponse:
    """Render a console page.

    ``section``: current entry of the sidebar. ``crumbs``: links between it and the page. The template extends
    ``console/base.html``. One query more than the view's own.
    """
    shell = {
        "title": title,
        "section": section,
        "theme": theme(request),
        "crumbs": _crumbs(request, section, title, crumbs),
        "tenant": getattr(request, "tenant", None),
        "role": getattr(request, "role", None),
        **_navigation(request, section),
    }
    response = render(request, template, {**shell, **context}, status=status)
    response["Cache-Control"] = "no-store"
    return response


def json_response(body: Mapping[str, object]) -> JsonResponse:
    """Return a JSON response that no cache stores."""
    return JsonResponse(body, headers={"Cache-Control": "no-store"})


def theme(request: HttpRequest) -> str:
    """Return the theme that the browser has chosen: light, dark or system."""
    value = request.COOKIES.get(THEME_COOKIE, "")
    return value if value in THEMES else "system"


def _navigation(request: HttpRequest, current: str) -> dict[str, object]:
    if not request.user.is_authenticated:
        return {}
    person: ConsoleRequest = request  # type: ignore[assignment]  # its user is authenticated
    tenants = tenants_of(person.user)
    operator = OPERATOR_SECTIONS if person.user.is_superuser else ()
    return {
        "tenants": tenants,
        "can_change": hasattr(request, "role") and has_role(request.role, Role.MEMBER),
        "can_manage": hasattr(request, "role") and has_role(request.role, Role.ADMIN),
        "tenant_links": _links(request, TENANT_SECTIONS, current) if hasattr(request, "tenant") else [],
        "operator_links": _links(request, operator, current),
        "account_links": _links(request, ACCOUNT_SECTIONS, current),
    }


def _links(request: HttpRequest, sections: Sequence[Section], current: str) -> list[Link]:
    links = []
    for section in sections:
        address = _address(request, section)
        if address and has_role(getattr(request, "role", Role.VIEWER), section.role):
            is_current = section.name == current
            links.append(Link(section.title, address, section.name, section.shortcut, is_current))
    return links


def _address(request: HttpRequest, section: Section) -> str:
    """Return the address of a section's page; empty if the site has no such page."""
    tenant_request: TenantRequest = request  # type: ignore[assignment]  # has a tenant in tenant sections
    arguments = [tenant_request.tenant.slug] if section in TENANT_SECTIONS else []
    try:
        return reverse(section.url_name, args=arguments)
    except NoReverseMatch:
        return ""


def _crumbs(request: HttpRequest, section: str, title: str, between: Sequence[Link]) -> list[Link]:
    is_platform = section in {entry.name for entry in OPERATOR_SECTIONS}
    tenant = None if is_platform else getattr(request, "tenant", None)
    crumbs = [Link(tenant.name, reverse("console:jobs", args=[tenant.slug]))] if tenant else []
    entries = {entry.name: entry for entry in (*TENANT_SECTIONS, *OPERATOR_SECTIONS)}
    if (entry := entries.get(section)) and str(entry.title) != title:
        crumbs.append(Link(entry.title, _address(request, entry)))
    return [*crumbs, *between, Link(title, is_current=True)] if crumbs or between else []
