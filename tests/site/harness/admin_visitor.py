"""A signed-in person who asks for many of the admin's addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cyllm_site.pages import errors


@dataclass(frozen=True)
class Page:
    """The answer to a GET; ``target`` is the address to which it redirects."""

    status: int
    target: str
    text: str


@dataclass
class Visitor:
    """A person who asks for each address once, and receives a failing view's 500 instead of its exception.

    For tests whose requests don't change what another request gets.
    """

    user: User
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))
    _pages: dict[str, Page] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sign in."""
        self.client.force_login(self.user)

    def get(self, address: str) -> Page:
        """Return the answer of an address."""
        if address not in self._pages:
            response = self.client.get(address)
            text = response.content.decode(errors="replace")
            self._pages[address] = Page(response.status_code, response.get("Location", ""), text)
        return self._pages[address]

    def follow(self, address: str) -> Page | None:
        """Return the page or error in which an address ends; None after more than three redirects."""
        for _ in range(4):
            page = self.get(address)
            if page.status not in (301, 302):
                return page
            address = page.target
        return None

    def is_settled(self, address: str) -> bool:
        """Return whether an address ends in a page or a client error."""
        page = self.follow(address)
        return page is not None and page.status < 500


@pytest.fixture
def plain_error_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show error pages without the admin's navigation, which takes most of their time."""
    monkeypatch.setattr(errors, "_is_staff", lambda _: False)
