"""``python -m cyllm_site.serve``: uvicorn with limits for unauthenticated clients, so it needs no proxy."""

from __future__ import annotations

import argparse

import uvicorn

from cyllm_site.http_guard.protocol import GuardedProtocol
from cyllm_site.http_guard.sockets import GuardedSocket

MAX_SOCKET_MESSAGE_BYTES = 4096  # clients of the console's sockets send nothing


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(prog="python -m cyllm_site.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="gateway processes")
    parser.add_argument("--ssl-certfile", help="serve TLS; requires --ssl-keyfile")
    parser.add_argument("--ssl-keyfile")
    parser.add_argument("--graceful-s", type=int, default=30, help="time for running responses after SIGTERM")
    options = parser.parse_args()
    uvicorn.run(
        "cyllm_site.asgi:application",
        host=options.host,
        port=options.port,
        workers=options.workers,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
        timeout_graceful_shutdown=options.graceful_s,
        timeout_keep_alive=75,
        loop="uvloop",
        http=GuardedProtocol,
        ws=GuardedSocket,
        ws_max_size=MAX_SOCKET_MESSAGE_BYTES,
        # Every page would need a compression of its own, which costs more time than small frames are worth.
        ws_per_message_deflate=False,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
