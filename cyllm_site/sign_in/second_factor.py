"""The second factor of sign-ins: codes of an authenticator app (TOTP, RFC 6238), and recovery codes."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass

import segno
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from backoffice.admin_base import actor_of
from tenants.audit_trail.changes import admin_audit_record

RECOVERY_CODES = 10
RECOVERY_BYTES = 10
DIGITS = 6
STORED_CHARACTERS = 16  # the size of django-otp's column, which holds the hash of a recovery code


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The set-up of an authenticator app: the secret as text, and as a QR code in SVG."""

    secret: str
    svg: str


def is_required(user: User) -> bool:
    """Return whether the person must have a second factor."""
    return bool(settings.REQUIRE_TWO_FACTOR) and (user.is_staff or user.is_superuser)


def is_enrolled(user: User) -> bool:
    """Return whether the person has a second factor."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_needed(user: User) -> bool:
    """Return whether the person needs a second step to sign in."""
    return is_required(user) or is_enrolled(user)


@transaction.atomic
def code_verify(user: User, text: str) -> bool:
    """Return whether the text is a valid code of the person that has not been used before.

    django-otp delays further attempts after a wrong code: 1 s, then twice as long each time.
    """
    code = normalise(text)
    if len(code) == DIGITS and code.isdigit():
        # Locked, so that one code doesn't admit two concurrent attempts.
        devices = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True)
        return any(device.verify_token(code) for device in devices)
    recoveries = StaticDevice.objects.select_for_update().filter(user=user, confirmed=True)
    is_valid = any(device.verify_token(_stored(code)) for device in recoveries)
    if is_valid:
        left = StaticToken.objects.filter(device__user=user).count()
        _record(user, "two_factor.recovery", actor=actor_of(user), after={"codes_left": left})
    return is_valid


def normalise(text: str) -> str:
    """Return a code without the spaces and hyphens that make it readable."""
    return "".join(text.lower().replace("-", " ").split())[:64]


@transaction.atomic
def enrolment_begin(user: User) -> Enrolment:
    """Return the secret for the person's app. It stays the same until one of its codes is confirmed."""
    # Locked, so that only one of two pages opened at once creates the device: no constraint prevents two.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    device, _ = TOTPDevice.objects.get_or_create(
        user=user, confirmed=False, defaults={"name": "authenticator", "digits": DIGITS}
    )
    secret = base64.b32encode(device.bin_key).decode().rstrip("=")
    code = segno.make(device.config_url, error="m", micro=False)
    return Enrolment(secret, code.svg_inline(scale=5, border=4, light="#fff", dark="#000"))


@transaction.atomic
def enrolment_confirm(user: User, text: str) -> list[str] | None:
    """Confirm the person's app by one of its codes. Returns recovery codes, or None for a wrong code."""
    device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=False).first()
    if device is None or is_enrolled(user) or not device.verify_token(normalise(text)):
        return None
    device.confirmed = True
    device.save()
    _record(user, "two_factor.enrol", actor=actor_of(user))
    return recovery_codes_replace(user)


@transaction.atomic
def recovery_codes_replace(user: User) -> list[str]:
    """Replace the person's recovery codes. Returns the new ones; only their hashes are stored."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery", confirmed=True)
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    tokens = [StaticToken(device=device, token=_stored(normalise(code))) for code in codes]
    StaticToken.objects.bulk_create(tokens)
    _record(user, "two_factor.codes", actor=actor_of(user))
    return codes


@transaction.atomic
def second_factor_remove(user: User, *, actor: str) -> bool:
    """Remove the person's second factor and recovery codes. Returns whether there was one."""
    count, _ = TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
    if count:
        _record(user, "two_factor.remove", actor=actor)
    return bool(count)


def recovery_codes_left(user: User) -> int:
    """Return the number of unused recovery codes."""
    return int(StaticToken.objects.filter(device__user=user).count())


def _new_recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _stored(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return base64.b32encode(digest).decode()[:STORED_CHARACTERS]


def _record(user: User, action: str, *, actor: str, after: dict[str, object] | None = None) -> None:
    admin_audit_record(
        actor=actor, action=action, object_id=str(user.pk), object_name=user.get_username(), after=after
    )
