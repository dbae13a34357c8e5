"""One sign-in at a time per address: parallel attempts would pass the limits before one is counted."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Condition

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

from cyllm_site.sign_in.addresses import counted_address
from cyllm_site.sign_in.pages import busy_page

MAX_WAITING = 4
WAIT_S = 5.0


class SignInSerialization:
    """Middleware: a process handles the sign-ins from one address one at a time; 429 if too many wait."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._locks = NamedLocks()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST" or request.path_info not in sign_in_paths():
            return self._get_response(request)
        with self._locks.hold(counted_address(request) or "") as is_held:
            return self._get_response(request) if is_held else busy_page(request)


def sign_in_paths() -> tuple[str, ...]:
    """Return the paths of the pages that verify passwords or codes."""
    names = ("admin:login", "console:sign-in", "sign-in-code", "sign-in-enrol", "two-factor-change")
    return tuple(map(reverse, names))


class NamedLocks:
    """Mutual exclusion per name, with a bounded number of waiting threads."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._names: set[str] = set()
        self._waiting: Counter[str] = Counter()

    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float = WAIT_S) -> Iterator[bool]:
        """Hold the lock inside the context. The value is False if it could not be acquired in time."""
        if not self._acquire(name, timeout_s):
            yield False
            return
        try:
            yield True
        finally:
            with self._condition:
                self._names.discard(name)
                self._condition.notify_all()

    def _acquire(self, name: str, timeout_s: float) -> bool:
        with self._condition:
            if self._waiting[name] >= MAX_WAITING:
                return False
            self._waiting[name] += 1
            is_free = self._condition.wait_for(lambda: name not in self._names, timeout_s)
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
            if is_free:
                self._names.add(name)
            return is_free
