"""The official SDK, connected to a service with scripted responses."""

from __future__ import annotations

import httpx2
import openai


class ScriptedService(httpx2.BaseTransport):
    """A transport that responds to each request of its ``client`` with ``body``, a stream of events."""

    def __init__(self) -> None:
        self.body = b""
        http_client = httpx2.Client(transport=self)
        self.client = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http_client)

    def handle_request(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=self.body, headers={"content-type": "text/event-stream"})
