"""Object store in a bucket of S3 or of an S3-compatible server."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from app.storage import atomic_files
from app.storage.object_keys import validate_key, validate_prefix
from app.storage.protocol import AlreadyExists, ObjectWriter, StorageUnavailable
from app.storage.s3_client import error_code, make_client, make_session, translate_errors
from app.storage.s3_writer import WRITER_METADATA, S3Writer, was_written_by

CHUNK_BYTES = 2**20
# For a download that is interrupted, and a conditional write that conflicts with another one.
MAX_TRIES = 5


class S3Store:
    """See ObjectStore. Without credentials, boto3 searches its usual places for them."""

    def __init__(
        self,
        bucket: str,
        *,
        region: str,
        endpoint_url: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
    ) -> None:
        session = make_session(access_key_id, secret_access_key, region)
        self.bucket = bucket
        self._client = make_client(session, endpoint_url)
        self._probe = make_client(session, endpoint_url, probe=True)

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        writer = S3Writer(self._client, self.bucket, validate_key(key))
        try:
            yield writer
            writer.commit()
        except BaseException as error:
            writer.abort(error)
            raise

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        address = self._address(key)
        with translate_errors(self.bucket):
            if if_absent:
                self._put_if_absent(address, data)
            else:
                self._client.put_object(**address, Body=data)

    def get(self, key: str) -> bytes:
        return b"".join(self.chunks(key))

    def chunks(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        stream = self._stream(self._address(key), start)
        next(stream)
        return stream

    def download(self, key: str, path: Path) -> None:
        atomic_files.atomic_write(path, self.chunks(key))

    def upload(self, path: Path, key: str) -> None:
        with path.open("rb") as source, self.writer(key) as target:
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)

    def delete(self, key: str) -> None:
        address = self._address(key)
        with translate_errors(self.bucket):
            self._client.delete_object(**address)

    def list(self, prefix: str) -> Iterator[str]:
        query = {"Bucket": self.bucket, "Prefix": validate_prefix(prefix)}
        with translate_errors(self.bucket):
            for page in self._client.get_paginator("list_objects_v2").paginate(**query):
                yield from (entry["Key"] for entry in page.get("Contents", []))

    def remove_unfinished(self, older_than: timedelta) -> int:
        oldest = datetime.now(UTC) - older_than
        with translate_errors(self.bucket):
            stale = [
                upload for upload in self._list_multipart_uploads() if upload["Initiated"] < oldest
            ]
            for upload in stale:
                self._client.abort_multipart_upload(
                    Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        return len(stale)

    def free_bytes(self) -> int | None:
        return None

    def check(self) -> None:
        with translate_errors(self.bucket):
            self._probe.head_bucket(Bucket=self.bucket)

    def _address(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": validate_key(key)}

    def _put_if_absent(self, address: dict[str, str], data: bytes) -> None:
        token = secrets.token_hex(16)
        request = {
            **address,
            "Body": data,
            "IfNoneMatch": "*",
            "Metadata": {WRITER_METADATA: token},
        }
        for _ in range(MAX_TRIES):
            try:
                self._client.put_object(**request)
                return
            except ClientError as error:
                # S3 may reject both of two concurrent conditional writes; a retry decides.
                if error_code(error) == "ConditionalRequestConflict":
                    continue
                if error_code(error) != "PreconditionFailed":
                    raise
                # botocore retries a request whose response was lost: the object may be ours.
                if not was_written_by(self._client, address, token):
                    raise AlreadyExists(address["Key"]) from error
                return
        raise StorageUnavailable(f"The bucket {self.bucket} is too busy at {address['Key']}.")

    def _stream(self, address: dict[str, str], start: int) -> Iterator[bytes]:
        """Yield an empty chunk once the object is found, then its bytes.

        The empty chunk lets `chunks` notice a missing object at once, and a started generator
        closes its connection when it is dropped. A response that is interrupted is resumed at
        its offset with a range request, for the same ETag.
        """
        first = {"Range": f"bytes={start}-"} if start else {}
        response = self._get_object(address, **first)
        version = {"IfMatch": response["ETag"]}
        offset, interruptions = start, 0
        yield b""
        while True:
            try:
                with closing(response["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        offset += len(chunk)
                        yield chunk
                return
            except BotoCoreError as error:
                interruptions += 1
                if interruptions == MAX_TRIES:
                    raise StorageUnavailable(
                        f"Reading {address} was interrupted: {error}"
                    ) from error
            response = self._get_object(address, Range=f"bytes={offset}-", **version)

    def _get_object(self, address: dict[str, str], **condition: str) -> Any:
        with translate_errors(self.bucket, read_key=address["Key"]):
            return self._client.get_object(**address, **condition)

    def _list_multipart_uploads(self) -> Iterator[Any]:
        for page in self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket
        ):
            yield from page.get("Uploads", [])
