"""Refusal of input that no page can use: NUL bytes, impossible ids, and values that the database rejects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import unquote

from django.apps import apps
from django.contrib.admin.utils import unquote as unquote_id
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import InvalidPage
from django.db import DataError
from django.db.models import AutoField, Field, Model
from django.http import Http404, HttpRequest, HttpResponseBase

from cyllm_site.middleware.error_log import log_refusal

ID_ARGUMENTS = ("object_id", "id")
INTEGER_LIMIT = 2**63
# Applications that check their input themselves, and answer in JSON.
OWN_CHECKS = ("admin_api",)


class UnusableInput:
    """Middleware: 400 for input that the database cannot hold, 404 for an id that no object can have."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, _view: object, _args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Check the input before any view reads it. Raises BadRequest or Http404."""
        if request.resolver_match is not None and request.resolver_match.app_name in OWN_CHECKS:
            return
        if any(_has_nul(text) for text in _texts(request)):
            raise BadRequest("NUL bytes are not accepted.")
        model = _model(request)
        ids = [str(kwargs[name]) for name in ID_ARGUMENTS if name in kwargs]
        if model is not None and not all(_is_possible(model, text) for text in ids):
            raise Http404

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Respond with 400 to values that only the database, a lookup or a paginator found invalid; log them.

        A GET of an admin page computes with stored rows and the query only, so there a ValueError or
        OverflowError comes from the query.
        """
        invalid: tuple[type[Exception], ...] = (DataError, ValidationError, InvalidPage)
        match = request.resolver_match
        if request.method == "GET" and match is not None and match.app_name == "admin":
            invalid = (*invalid, ValueError, OverflowError)
        if isinstance(exception, invalid):
            log_refusal(request, "a value is not valid", exception)
            raise BadRequest("A value in the request is not valid.") from exception


def _texts(request: HttpRequest) -> Iterator[str]:
    yield request.path
    for name, values in chain(request.GET.lists(), request.POST.lists()):
        yield from (name, *map(str, values))
    for name, files in request.FILES.lists():
        yield from (name, *(str(getattr(file, "name", "")) for file in files))


def _has_nul(text: str) -> bool:
    # Lists pass their filters on inside one parameter, so it is encoded twice.
    return "\0" in text or ("%" in text and "\0" in unquote(text))


def _model(request: HttpRequest) -> type[Model] | None:
    """Return the model of an admin page, whose URL names begin with application and model."""
    match = request.resolver_match
    if match is None or match.app_name != "admin" or match.url_name is None:
        return None
    names: Mapping[str, type[Model]] = {
        f"{model._meta.app_label}_{model._meta.model_name}": model for model in apps.get_models()
    }
    parts = match.url_name.split("_")
    candidates = ("_".join(parts[:length]) for length in range(2, len(parts) + 1))
    return next((names[name] for name in candidates if name in names), None)


def _is_possible(model: type[Model], text: str) -> bool:
    key: Field[Any, Any] = model._meta.pk
    try:
        value = key.to_python(unquote_id(text))
    except (ValidationError, ValueError, OverflowError):
        return False
    return not isinstance(key, AutoField) or abs(int(value)) < INTEGER_LIMIT
