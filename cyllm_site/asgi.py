"""The ASGI application: the gateway serves the API, Django everything else."""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.base")
from django.conf import settings

settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
django = get_asgi_application()

# Models can be imported only after the line above has set Django up.

from api.console.live.admission import is_signed_in  # noqa: E402
from api.console.live.sockets import serve_socket  # noqa: E402
from api.gateway.app import Gateway  # noqa: E402
from api.gateway.cors import STATE, cors_policy  # noqa: E402
from api.gateway.http.azure_paths import ROOT as AZURE_ROOT  # noqa: E402
from api.gateway.http.disconnect import Receive, Scope, Send  # noqa: E402
from api.gateway.process import gateway_process  # noqa: E402
from api.gateway.urls.table import INTERNAL_URLS, URLS  # noqa: E402
from api.openai.errors.access import HttpsRequired  # noqa: E402
from cyllm_site.checks import refuse_unsafe_settings  # noqa: E402
from cyllm_site.middleware.error_responses import send_error  # noqa: E402
from cyllm_site.middleware.https_only import check_https, with_hsts  # noqa: E402
from cyllm_site.pages.api_root import is_api_root, send_api_root  # noqa: E402
from cyllm_site.pages.application import LargeBodies, Pages  # noqa: E402
from inference_worker.telemetry.masking import trace_without_messages  # noqa: E402

logger = logging.getLogger("cyllm.site")
ROUTES = (*URLS.routes, *INTERNAL_URLS.routes)
UPLOAD_TIMEOUT_S = 1800.0  # for a file that a person uploads in the console
API_ROOTS = {AZURE_ROOT, *(route.template.split("/")[1] for route in ROUTES)}
# Clients send keys there: a redirect to HTTPS would come too late for them.
KEY_ROOTS = API_ROOTS | {"api"}


class Site:
    """Runs the gateway for the lifetime of the server, and routes requests to it or to Django."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None
        limits = settings.CYLLM
        uploads = LargeBodies(limits.max_file_bytes, UPLOAD_TIMEOUT_S, is_signed_in)
        self._pages = Pages(
            django,
            limits.max_body_bytes,
            limits.client_body_timeout_s,
            uploads,
            limits.trusted_proxies,
        )

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route an HTTP request."""
        if is_api_root(scope):
            await send_api_root(scope, send)
            return
        root = scope["path"].lstrip("/").partition("/")[0]
        if settings.REQUIRE_HTTPS and root in KEY_ROOTS:
            try:
                check_https(scope, settings.CYLLM.trusted_proxies)
            except HttpsRequired as error:
                await send_error(send, error)
                return
        if root not in API_ROOTS:
            await self._pages(scope, receive, send)
            return
        if self._gateway is None:
            raise RuntimeError("the gateway is not running: enable ASGI lifespan in the server")
        await self._gateway(scope, receive, with_hsts(send) if settings.REQUIRE_HTTPS else send)

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a socket of the console, which follows the job events that the gateway reads."""
        if self._gateway is None:
            raise RuntimeError("the gateway is not running: enable ASGI lifespan in the server")
        feeds = self._gateway.endpoints.fine_tuning.readers.feeds
        try:
            await serve_socket(scope, receive, send, feeds)
        except Exception as error:  # the server would log its message, which can quote the client
            logger.error("a socket failed", extra={"trace": trace_without_messages(error)})

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the gateway from ``lifespan.startup`` to ``lifespan.shutdown``."""
        scope.get("state", {})[STATE] = cors_policy(settings.CYLLM.allowed_origins)
        async with AsyncExitStack() as stack:
            await receive()
            try:
                self._gateway = await stack.enter_async_context(
                    gateway_process(
                        redis_url=settings.CYLLM.redis_url,
                        secret=settings.SECRET_KEY,
                        limits=settings.CYLLM,
                    )
                )
            except Exception as error:
                logger.exception("the gateway can't start")
                await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._gateway = None
        await send({"type": "lifespan.shutdown.complete"})


refuse_unsafe_settings()
site = Site()
application = ProtocolTypeRouter({"http": site.http, "websocket": site.websocket, "lifespan": site.lifespan})
