"""Static files under ASGI."""

from __future__ import annotations

import io
from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # the package is untyped
    """WhiteNoise that returns whole files.

    WhiteNoise itself returns synchronous streams. Under ASGI, Django reads those as a whole too, with a
    warning for each.
    """

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return the file, or the requested range."""
        file_response = static_file.get_response(request.method, request.META)
        with file_response.file or io.BytesIO() as file:
            response = HttpResponse(file.read(), status=int(file_response.status))
        del response["content-type"]
        for name, value in file_response.headers:
            response[name] = value
        return response
