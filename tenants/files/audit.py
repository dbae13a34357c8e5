"""Audit records of files."""

from __future__ import annotations

from tenants.audit_trail.changes import admin_audit_record
from tenants.files.models import StoredFile


def file_values(file: StoredFile) -> dict[str, object]:
    """Return the audited values of a file."""
    return {
        "filename": file.filename,
        "purpose": str(file.purpose),
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "expires_at": file.expires_at.isoformat() if file.expires_at else None,
    }


def file_audit(
    file: StoredFile,
    *,
    action: str,
    actor: str,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    """Record a change of a file, in its transaction."""
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=file.id,
        object_name=file.filename,
        tenant_id=file.tenant_id,
        before=before,
        after=after,
    )
