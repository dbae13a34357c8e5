"""Answers to requests with an ``Idempotency-Key``, for repetitions."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class IdempotentAnswer(models.Model):
    """The answer to a successful POST. ``sealed_answer`` is encrypted with the client's ``Idempotency-Key``.

    An answer can contain the secret of a new key. The header's value is stored only as a hash, so neither the
    database nor a backup of it reveals the secret.
    """

    caller = models.CharField(max_length=100)
    key_hash = models.CharField(max_length=64)
    request_hash = models.CharField(max_length=64)
    sealed_answer = models.TextField(default="")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["caller", "key_hash"], name="idempotent_answer_once"),
        ]

    def __str__(self) -> str:
        return f"{self.caller}: {self.key_hash[:12]}"
