"""The S3 client: how patient it is, and what its errors mean to us."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.storage.protocol import StorageUnavailable

MISSING_CODES = frozenset({"NoSuchKey", "NotFound", "404"})
# What a HEAD answers has no body, so for these there is a number at most.
ERROR_MESSAGES = {
    "404": "it does not exist.",
    "NoSuchBucket": "it does not exist.",
    "403": "the S3 keys are refused.",
    "AccessDenied": "the S3 keys may not do that.",
    "InvalidAccessKeyId": "the S3 key id is unknown.",
    "SignatureDoesNotMatch": "the S3 secret does not belong to the key id.",
}


def make_session(access_key_id: str | None, secret_access_key: str | None, region: str) -> Session:
    """A session of our own: boto3's shared default one is not safe to use from threads."""
    return Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=region,
    )


# Any: boto3 makes its clients' classes at run time.
def make_client(session: Session, endpoint_url: str | None, *, probe: bool = False) -> Any:
    """A client that survives hiccups, or with `probe` one that says at once how things are."""
    patience = _probe_config() if probe else _default_config()
    if endpoint_url is not None:
        patience = patience.merge(_compatibility_config())
    return session.client("s3", endpoint_url=endpoint_url, config=patience)


def error_code(error: ClientError) -> str:
    """S3's code of a refusal, or the HTTP status where there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translate_errors(bucket: str, read_key: str | None = None) -> Iterator[None]:
    """botocore's errors as those of a store; where a key is read it may be missing."""
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
    # botocore waits 60 s for each of connect and read, with an old way of retrying.
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
    # Servers other than AWS's may refuse the checksums that boto3 adds, and names in the host part.
    return Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
    )
