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

from api.gateway.app import Gateway  # noqa: E402
from api.gateway.http.disconnect import Receive, Scope, Send  # noqa: E402
from api.gateway.process import gateway_process  # noqa: E402
from api.gateway.urls import URLS  # noqa: E402
from cyllm_site.checks import refuse_unsafe_settings  # noqa: E402
from cyllm_site.pages import Pages  # noqa: E402

logger = logging.getLogger("cyllm.site")
API_ROOTS = frozenset(route.template.split("/")[1] for route in URLS.routes)


class Site:
    """Runs the gateway for the lifetime of the server, and routes requests to it or to Django."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None
        limits = settings.CYLLM
        self._pages = Pages(django, limits.max_body_bytes, limits.client_body_timeout_s)

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route an HTTP request."""
        if scope["path"].lstrip("/").partition("/")[0] not in API_ROOTS:
            await self._pages(scope, receive, send)
            return
        if self._gateway is None:
            raise RuntimeError("the gateway is not running: enable ASGI lifespan in the server")
        await self._gateway(scope, receive, send)

    async def lifespan(self, _: Scope, receive: Receive, send: Send) -> None:
        """Run the gateway from ``lifespan.startup`` to ``lifespan.shutdown``."""
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
application = ProtocolTypeRouter({"http": site.http, "lifespan": site.lifespan})
