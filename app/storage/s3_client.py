"""S3 client: credentials, timeouts, retries, and the translation of botocore's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.storage.protocol import StorageUnavailable

MISSING_CODES = frozenset({"NoSuchKey", "NotFound", "404"})
# A response to HEAD has no body, so its code is the HTTP status.
ERROR_MESSAGES = {
    "404": "it does not exist.",
    "NoSuchBucket": "it does not exist.",
    "403": "the S3 credentials were rejected.",
    "AccessDenied": "the S3 credentials lack the permission.",
    "InvalidAccessKeyId": "the S3 access key id is unknown.",
    "SignatureDoesNotMatch": "the S3 secret access key does not match the access key id.",
}


def make_session(access_key_id: str | None, secret_access_key: str | None, region: str) -> Session:
    """Make a session of our own: boto3's shared default one is not thread-safe."""
    return Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=region,
    )


# Any: boto3 creates its client classes at run time.
def make_client(session: Session, endpoint_url: str | None, *, probe: bool = False) -> Any:
    """Make an S3 client that retries; with `probe`, one that fails fast, for health checks."""
    config = _probe_config() if probe else _default_config()
    if endpoint_url is not None:
        config = config.merge(_compatibility_config())
    return session.client("s3", endpoint_url=endpoint_url, config=config)


def error_code(error: ClientError) -> str:
    """S3's error code, or the HTTP status where there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translate_errors(bucket: str, read_key: str | None = None) -> Iterator[None]:
    """Raise botocore's errors as StorageUnavailable.

    A missing object becomes FileNotFoundError where `read_key` names the key that is read.
    """
    try:
        yield
    except ClientError as error:
        if read_key is not None and error_code(error) in MISSING_CODES:
            raise FileNotFoundError(read_key) from error
        sentence = ERROR_MESSAGES.get(error_code(error), str(error))
        raise StorageUnavailable(f"The bucket {bucket} cannot be used: {sentence}") from error
    except BotoCoreError as error:
        raise StorageUnavailable(f"The bucket {bucket} cannot be reached: {error}") from error


def _default_config() -> Config:
    # botocore's defaults are 60 s each for connect and read, and its legacy retry mode.
    return Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=32,
        tcp_keepalive=True,
    )


def _probe_config() -> Config:
    return Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})


def _compatibility_config() -> Config:
    # Servers other than AWS may reject boto3's added checksums and bucket names in the host name.
    return Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
    )
