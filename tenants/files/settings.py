"""Settings of uploaded files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A folder in an S3 bucket. ``endpoint`` and ``region`` are empty where the AWS defaults apply."""

    bucket: str
    folder: str = ""
    endpoint: str = ""
    region: str = ""


def bucket_address(url: str) -> BucketAddress | None:
    """Parse ``s3://bucket/folder?endpoint=https://host&region=name``; None for an empty text.

    Raises ValueError.
    """
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.hostname:
        raise ValueError("expected s3://bucket/folder")
    if "@" in parts.netloc:
        raise ValueError(
            "keys don't belong into the address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    if unknown := options.keys() - {"endpoint", "region"}:
        raise ValueError(f"unknown option {min(unknown)}: expected endpoint or region")
    endpoint = options.get("endpoint", [""])[0]
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ValueError("the endpoint must start with http:// or https://")
    return BucketAddress(parts.netloc, parts.path.strip("/"), endpoint, options.get("region", [""])[0])


def storage_settings(bucket: BucketAddress | None, folder: Path) -> Mapping[str, Any]:
    """Return Django's setting of a storage: the bucket, or the folder if there is none."""
    if bucket is None:
        # Readable by the platform alone.
        options = {"location": folder, "file_permissions_mode": 0o600, "directory_permissions_mode": 0o700}
        return {"BACKEND": "tenants.files.storage.folder.FolderStorage", "OPTIONS": options}
    options = {
        "bucket_name": bucket.bucket,
        "location": bucket.folder,
        "default_acl": None,
        "file_overwrite": True,  # names are unique, so a look-up before each write is unnecessary
    }
    if bucket.endpoint:
        options["endpoint_url"] = bucket.endpoint
    if bucket.region:
        options["region_name"] = bucket.region
    return {"BACKEND": "tenants.files.storage.bucket.BucketStorage", "OPTIONS": options}


def _storage_url(url: str) -> str:
    bucket_address(url)
    return url


class FileLimits(BaseModel):
    """Limits of uploaded files, inherited by the settings. Times in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_file_bytes: int = Field(1024**3, ge=1024, description="largest uploaded file")
    tenant_file_bytes: int = Field(
        20 * 1024**3, ge=1024, description="total size of the files of one tenant; more is refused"
    )
    file_uploads_per_tenant: int = Field(
        8, ge=1, description="concurrent file uploads per tenant and gateway process"
    )
    file_stall_timeout_s: float = Field(
        30.0, gt=0, description="silence after which a file upload or download is given up"
    )
    min_free_disk_bytes: int = Field(
        1024**3,
        ge=0,
        description="free space on the disk of CYLLM_STATE_DIR below which /health reports the disk as down",
    )
    file_storage_url: Annotated[str, AfterValidator(_storage_url)] = Field(
        "",
        description="S3 bucket for uploaded files and artifacts, s3://bucket/folder; for other services than "
        "AWS with ?endpoint=https://host&region=name. Requires the package boto3, which reads the usual "
        "AWS_ variables. Default: the folder files in CYLLM_STATE_DIR, which gateways and workers must share",
    )
