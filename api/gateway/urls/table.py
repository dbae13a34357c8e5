"""The table of all routes of the API."""

from __future__ import annotations

from api.gateway.http.url_table import UrlTable
from api.gateway.urls.engine import engine_call_routes, tokenizer_routes
from api.gateway.urls.files import file_routes
from api.gateway.urls.fine_tuning import fine_tuning_routes
from api.gateway.urls.internal import internal_routes
from api.gateway.urls.models import model_routes
from api.gateway.urls.public import public_routes
from api.gateway.urls.responses import response_routes
from api.gateway.urls.streams import stream_routes

URLS = UrlTable(
    (
        *engine_call_routes(),
        *tokenizer_routes(),
        *model_routes(),
        *response_routes(),
        *stream_routes(),
        *file_routes(),
        *fine_tuning_routes(),
        *public_routes(),
    ),
)
# For the platform's own processes: no part of the API and its document, and not recorded.
INTERNAL_URLS = UrlTable(internal_routes())
