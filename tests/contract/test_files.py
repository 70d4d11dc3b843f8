"""Files on the live stack, through the official SDK and plain HTTP."""

import hashlib
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.contract.running_stack import ROWS, Stack, chat_file

pytestmark = pytest.mark.live


class TestValidFile:
    def test_the_content_is_returned_unchanged(self, client: OpenAI) -> None:
        data = chat_file(ROWS)
        created = client.files.create(file=("desk.jsonl", data), purpose="fine-tune")
        assert created.bytes == len(data)
        assert created.filename == "desk.jsonl"
        assert created.purpose == "fine-tune"
        assert created.status == "processed"
        assert created.status_details is None
        assert client.files.retrieve(created.id) == created
        assert client.files.content(created.id).read() == data

    def test_the_sdk_can_wait_for_processing(self, client: OpenAI, training_file: str) -> None:
        assert client.files.wait_for_processing(training_file).status == "processed"

    def test_a_deleted_file_is_not_found(self, client: OpenAI) -> None:
        created = client.files.create(file=("gone.jsonl", chat_file(ROWS)), purpose="fine-tune")
        assert client.files.delete(created.id).deleted
        with pytest.raises(NotFoundError) as raised:
            client.files.retrieve(created.id)
        assert raised.value.message.endswith(f"No such File object: {created.id}")
        with pytest.raises(NotFoundError):
            client.files.content(created.id)
        assert created.id not in [file.id for file in client.files.list()]

    def test_the_file_may_come_before_the_purpose(self, stack: Stack) -> None:
        """As the Node SDK sends it, chunked and without a length."""
        boundary = "x" * 20
        parts = [
            f"--{boundary}\r\n".encode(),
            b'Content-Disposition: form-data; name="file"; filename="node.jsonl"\r\n\r\n',
            chat_file(ROWS),
            f"\r\n--{boundary}\r\n".encode(),
            b'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n',
            f"--{boundary}--\r\n".encode(),
        ]
        with stack.http() as http:
            response = http.post(
                "/v1/files",
                content=iter(parts),
                headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
            )
        assert response.status_code == 200, response.text
        assert response.json()["status"] == "processed"


class TestUploads:
    def test_a_file_in_parts(self, client: OpenAI, tmp_path: Path) -> None:
        path = tmp_path / "desk.jsonl"
        data = chat_file(ROWS)
        path.write_bytes(data)
        done = client.uploads.upload_file_chunked(
            file=path,
            mime_type="application/jsonl",
            purpose="fine-tune",
            part_size=len(data) // 3 + 1,
            md5=hashlib.md5(data).hexdigest(),
        )
        assert (done.status, done.filename, done.bytes) == ("completed", "desk.jsonl", len(data))
        assert done.file is not None
        assert client.files.retrieve(done.file.id) == done.file
        assert done.file.status == "processed"
        assert client.files.content(done.file.id).read() == data

    def test_a_cancelled_upload_accepts_no_parts(self, client: OpenAI) -> None:
        upload = client.uploads.create(
            filename="a.jsonl", purpose="fine-tune", bytes=3, mime_type="application/jsonl"
        )
        assert client.uploads.cancel(upload.id).status == "cancelled"
        with pytest.raises(BadRequestError, match=upload.id):
            client.uploads.parts.create(upload.id, data=b"abc")


class TestList:
    def test_pages_by_purpose_and_order(self, client: OpenAI) -> None:
        ids = [
            client.files.create(file=(f"{n}.txt", b"text"), purpose="user_data").id
            for n in range(3)
        ]
        newest_first = [file.id for file in client.files.list(purpose="user_data", limit=1)]
        assert newest_first == ids[::-1]
        oldest_first = client.files.list(purpose="user_data", limit=2, order="asc")
        assert [file.id for file in oldest_first] == ids

    def test_an_unknown_purpose_lists_nothing(self, client: OpenAI) -> None:
        assert list(client.files.list(purpose="purpose")) == []


class TestInvalidFile:
    @pytest.mark.parametrize(
        ("name", "data", "words"),
        [
            ("not json", b"hello\nworld\n", ["line 1"]),
            ("an array", b"[\n1,\n2]\n", ["line 1"]),
            ("no messages", chat_file(ROWS) + b'{"prompt": "x"}\n', ["messages", "13"]),
            ("a role is missing", b'{"messages": [{"content": "x"}]}\n', ["role", "message 1"]),
        ],
    )
    def test_the_validation_error_names_line_and_reason(
        self, client: OpenAI, name: str, data: bytes, words: list[str]
    ) -> None:
        created = client.files.create(file=("bad.jsonl", data), purpose="fine-tune")
        assert created.status == "error", name
        assert created.status_details is not None
        for word in words:
            assert word in created.status_details, (name, created.status_details)

    def test_an_empty_file_is_rejected(self, client: OpenAI) -> None:
        with pytest.raises(BadRequestError):
            client.files.create(file=("empty.jsonl", b""), purpose="fine-tune")

    def test_an_unknown_purpose_is_rejected(self, client: OpenAI) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.files.create(file=("a.jsonl", b"{}"), purpose="lunch")  # type: ignore[arg-type]
        assert raised.value.param == "purpose"

    def test_a_body_without_a_file_is_rejected(self, stack: Stack) -> None:
        with stack.http() as http:
            response = http.post("/v1/files", data={"purpose": "fine-tune"}, files={})
            assert response.status_code == 400, response.text
            response = http.post("/v1/files", files={"purpose": (None, "fine-tune")})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["param"] == "file"


def test_an_invalid_key_is_rejected_before_the_body_is_read(stack: Stack) -> None:
    sent = 0

    def endless() -> object:
        nonlocal sent
        for _ in range(400):
            sent += 2**20
            yield b"x" * 2**20

    with stack.http(key="sk-wrong") as http:
        try:
            response = http.post("/v1/files", content=endless())  # type: ignore[arg-type]
            assert response.status_code == 401
        except (httpx.WriteError, httpx.RemoteProtocolError):
            pass  # The server closed the connection during the upload: rejected as well.
    assert sent < 64 * 2**20, "the server read on after rejecting the key"
