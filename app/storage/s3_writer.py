"""Stream one object to S3 as a multipart upload, holding one part in memory."""

import secrets
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from app.storage.s3_client import error_code, translate_errors

# S3 allows 10,000 parts, so an object may have 160 GB.
PART_SIZE = 16 * 2**20
# Metadata with the writer's token: it recognizes its own object after a lost response.
WRITER_METADATA = "writer"


class S3Writer:
    """See ObjectWriter. An object of at most one part is a single PUT, with nothing to abort."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._address = {"Bucket": bucket, "Key": key}
        self._token = secrets.token_hex(16)
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._etags: list[str] = []

    def write(self, data: bytes, /) -> int:
        rest = memoryview(data)
        while rest:
            room = PART_SIZE - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == PART_SIZE:
                self._upload_part()
        return len(data)

    def commit(self) -> None:
        """Make the object visible."""
        if self._upload_id is None:
            with self._translate_errors():
                self._client.put_object(**self._address, Body=self._buffer)
            return
        if self._buffer:
            self._upload_part()
        with self._translate_errors():
            self._complete(self._upload_id)

    def abort(self, cause: BaseException) -> None:
        """Discard the parts. If that fails, note it on `cause`; `remove_unfinished` retries."""
        if self._upload_id is None:
            return
        try:
            self._client.abort_multipart_upload(**self._address, UploadId=self._upload_id)
        except (BotoCoreError, ClientError) as error:
            cause.add_note(f"The parts of {self._address} stay until the next cleanup: {error}")

    def _upload_part(self) -> None:
        with self._translate_errors():
            if self._upload_id is None:
                self._upload_id = self._create_multipart_upload()
            part = self._client.upload_part(
                **self._address,
                UploadId=self._upload_id,
                PartNumber=len(self._etags) + 1,
                Body=self._buffer,
            )
        self._etags.append(part["ETag"])
        self._buffer = bytearray()

    def _create_multipart_upload(self) -> str:
        upload = self._client.create_multipart_upload(
            **self._address, Metadata={WRITER_METADATA: self._token}
        )
        return str(upload["UploadId"])

    def _complete(self, upload_id: str) -> None:
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(self._etags, start=1)]
        try:
            self._client.complete_multipart_upload(
                **self._address, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        except ClientError as error:
            # botocore retries a request whose response was lost; the retry finds no upload.
            if error_code(error) != "NoSuchUpload":
                raise
            if not was_written_by(self._client, self._address, self._token):
                raise

    def _translate_errors(self) -> Any:
        return translate_errors(self._address["Bucket"])


def was_written_by(client: Any, address: dict[str, str], token: str) -> bool:
    """True if the object carries this writer's token."""
    return bool(client.head_object(**address).get("Metadata", {}).get(WRITER_METADATA) == token)
