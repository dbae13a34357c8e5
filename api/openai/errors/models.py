"""Errors about the model that a request names."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class UnsupportedModel(
    ApiError,
    code="unsupported_model",
    status=400,
    message="This model does not support {endpoint}. It supports: {others}.",
    fix="Use an endpoint that the message names, or a model that supports this endpoint.",
):
    endpoint: str
    others: str


class ModelNotFound(
    ApiError,
    code="model_not_found",
    status=404,
    message="The model '{model}' does not exist or you do not have access to it.",
    fix="List the models of this key with `GET /v1/models`.",
):
    model: str
