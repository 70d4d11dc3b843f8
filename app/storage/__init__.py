"""Object storage for files, checkpoints, adapters and result files: an S3 bucket or a directory."""

from app.settings import Settings
from app.storage.local import LocalStore
from app.storage.object_keys import (
    UnsafeKey,
    attempt_prefix,
    checkpoint_prefix,
    export_key,
    file_key,
    job_prefix,
    join_key,
    upload_part_key,
    upload_prefix,
    work_part_key,
)
from app.storage.protocol import AlreadyExists, ObjectStore, ObjectWriter, StorageUnavailable
from app.storage.verified import MARKER_KEY, StorageMismatch, VerifiedStore, read_marker

__all__ = [
    "MARKER_KEY",
    "AlreadyExists",
    "LocalStore",
    "ObjectStore",
    "ObjectWriter",
    "StorageMismatch",
    "StorageUnavailable",
    "UnsafeKey",
    "VerifiedStore",
    "attempt_prefix",
    "checkpoint_prefix",
    "export_key",
    "file_key",
    "job_prefix",
    "join_key",
    "open_bucket",
    "open_store",
    "read_marker",
    "upload_part_key",
    "upload_prefix",
    "work_part_key",
]


def open_store(settings: Settings) -> ObjectStore:
    """Open the configured store: the bucket `S3_BUCKET` if set, else a directory in the home."""
    if settings.s3_bucket is None:
        return LocalStore(settings.home / "storage")
    return open_bucket(settings, settings.s3_bucket)


def open_bucket(settings: Settings, bucket: str) -> ObjectStore:
    """Open any bucket, with the credentials of the storage."""
    # boto3 takes long to import, and most installations have no bucket.
    from app.storage.s3 import S3Store

    secret = settings.s3_secret_access_key
    return S3Store(
        bucket,
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint_url,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=None if secret is None else secret.get_secret_value(),
    )
