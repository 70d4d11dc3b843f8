"""Routes of /v1/uploads, through the official SDK and plain HTTP."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types import Upload
from sqlalchemy import func, select, update

from app.db.session import SessionMaker, transaction
from app.db.tables import File, UploadPart
from app.db.tables import Upload as UploadRow
from app.files import uploads
from tests.app.files.test_routes import GOOD, LINE, list_stored_paths
from tests.app.http.test_admission import expect_error
from tests.live_api import Api


@pytest.fixture(autouse=True)
def _empty_store(api: Api) -> None:
    """Delete objects of other tests, whose rows are gone."""
    for key in list(api.state.store.list("")):
        api.state.store.delete(key)


def create_upload(
    openai: OpenAI, size: int, *, purpose: str = "fine-tune", name: str = "a.jsonl"
) -> str:
    upload = openai.uploads.create(
        filename=name,
        purpose=purpose,  # type: ignore[arg-type]
        bytes=size,
        mime_type="application/jsonl",
    )
    return upload.id


def add_part(openai: OpenAI, upload_id: str, data: bytes) -> str:
    return openai.uploads.parts.create(upload_id, data=data).id


def split_bytes(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


class TestComplete:
    def test_chunked_upload_of_the_sdk(self, openai: OpenAI, tmp_path: Path, api: Api) -> None:
        path = tmp_path / "train.jsonl"
        path.write_bytes(GOOD)
        done = openai.uploads.upload_file_chunked(
            file=path, mime_type="application/jsonl", purpose="fine-tune", part_size=100
        )
        assert (done.status, done.filename, done.bytes) == ("completed", "train.jsonl", len(GOOD))
        assert done.expires_at - done.created_at in (3600, 3601)
        assert done.file is not None
        assert done.file == openai.files.retrieve(done.file.id)
        assert (done.file.bytes, done.file.status) == (len(GOOD), "processed")
        assert openai.files.content(done.file.id).read() == GOOD
        row_keys = api.state.store.list("")
        assert sum("/uploads/" in key for key in row_keys) == -(-len(GOOD) // 100)

    def test_parallel_parts_in_reverse_order(self, openai: OpenAI) -> None:
        pieces = split_bytes(GOOD, 90)
        upload_id = create_upload(openai, len(GOOD))
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda piece: add_part(openai, upload_id, piece), reversed(pieces)))
        md5 = hashlib.md5(GOOD).hexdigest()
        done = openai.uploads.complete(upload_id, part_ids=ids[::-1], md5=md5.upper())
        assert done.file is not None
        assert openai.files.content(done.file.id).read() == GOOD

    def test_file_is_validated(self, openai: OpenAI) -> None:
        data = GOOD + b"{oops}\n"
        upload_id = create_upload(openai, len(data))
        ids = [add_part(openai, upload_id, piece) for piece in split_bytes(data, 1000)]
        file = openai.uploads.complete(upload_id, part_ids=ids).file
        assert file is not None
        assert file.status == "error"
        assert "line 13" in str(file.status_details)

    def test_file_has_the_fields_of_the_upload(self, openai: OpenAI) -> None:
        upload = openai.uploads.create(
            filename="../a\tb.bin",
            purpose="user_data",
            bytes=3,
            mime_type="text/plain",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert (upload.status, upload.file, upload.filename) == ("pending", None, "ab.bin")
        file = openai.uploads.complete(
            upload.id, part_ids=[add_part(openai, upload.id, b"abc")]
        ).file
        assert file is not None
        assert file.expires_at is not None
        assert file.expires_at - file.created_at in (3600, 3601)
        assert (file.purpose, file.filename, file.status) == ("user_data", "ab.bin", "processed")

    def test_unnamed_parts_are_omitted(self, openai: OpenAI) -> None:
        """Happens when the response to a part was lost and the client sent the part again."""
        upload_id = create_upload(openai, 4, purpose="user_data", name="a")
        add_part(openai, upload_id, b"ab")
        ids = [add_part(openai, upload_id, b"ab"), add_part(openai, upload_id, b"cd")]
        file = openai.uploads.complete(upload_id, part_ids=ids).file
        assert file is not None
        assert openai.files.content(file.id).read() == b"abcd"

    def test_parts_of_ended_uploads_are_deleted(
        self, openai: OpenAI, sessions: SessionMaker, api: Api
    ) -> None:
        finished, cancelled, pending = (
            create_upload(openai, 3, purpose="vision") for _ in range(3)
        )
        for upload_id in (finished, cancelled, pending):
            part_id = add_part(openai, upload_id, b"abc")
            if upload_id == finished:
                openai.uploads.complete(upload_id, part_ids=[part_id])
        openai.uploads.cancel(cancelled)
        with transaction(sessions) as session:
            uploads.remove_parts(session)
            left = session.scalars(select(UploadPart.upload_id)).all()
        assert left == [pending]


class TestInvalidCreate:
    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"bytes": -1}, "bytes"),
            ({"bytes": 8 * 2**30 + 1}, "bytes"),
            ({"bytes": "many"}, "bytes"),
            ({"purpose": "lunch"}, "purpose"),
            ({"purpose": "fine-tune-results"}, "purpose"),
            ({"filename": "train.csv"}, "file"),
            ({"filename": "x" * 300 + ".csv"}, "file"),
            ({"filename": None}, "filename"),
            ({"mime_type": None}, "mime_type"),
            ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
        ],
    )
    def test_error_names_the_parameter(
        self, http: httpx.Client, change: dict[str, object], param: str
    ) -> None:
        body: dict[str, object] = {
            "filename": "a.jsonl",
            "purpose": "fine-tune",
            "bytes": 10,
            "mime_type": "text/plain",
        }
        assert expect_error(http.post("/v1/uploads", json=body | change), 400)["param"] == param

    def test_more_than_any_disk_has(self, openai: OpenAI) -> None:
        """The request is wrong, rather than the disk full: no retry would help."""
        with pytest.raises(BadRequestError):
            create_upload(openai, size=2**57)

    def test_batch_file_over_200_mib(self, openai: OpenAI) -> None:
        with pytest.raises(Exception, match="209715200"):
            create_upload(openai, 200 * 2**20 + 1, purpose="batch")

    def test_idempotency_key(self, openai: OpenAI) -> None:
        def create() -> Upload:
            return openai.uploads.create(
                filename="a.jsonl",
                purpose="fine-tune",
                bytes=10,
                mime_type="text/plain",
                extra_headers={"Idempotency-Key": "key-1"},
            )

        assert create() == create()


class TestInvalidPart:
    def test_part_above_the_limit(self, api: Api, http: httpx.Client, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 10)
        before = list_stored_paths(api)
        data = b"x" * (uploads.MAX_PART_BYTES + 1)
        response = http.post(f"/v1/uploads/{upload_id}/parts", files={"data": data})
        assert expect_error(response, 413)["param"] == "data"
        assert list_stored_paths(api) == before

    @pytest.mark.parametrize("field", ["file", "", "data[]"])
    def test_wrong_field(self, api: Api, http: httpx.Client, openai: OpenAI, field: str) -> None:
        upload_id = create_upload(openai, 10)
        before = list_stored_paths(api)
        response = http.post(f"/v1/uploads/{upload_id}/parts", files={field: b"abc"})
        error = expect_error(response, 400)
        assert (error["param"], error["code"]) == ("data", "missing_required_parameter")
        assert list_stored_paths(api) == before

    def test_empty_part(self, api: Api, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 10)
        before = list_stored_paths(api)
        with pytest.raises(BadRequestError, match=r"The part is empty. Send its bytes in 'data'."):
            add_part(openai, upload_id, b"")
        assert list_stored_paths(api) == before

    def test_part_exceeds_the_upload(self, api: Api, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 10, purpose="user_data")
        first = add_part(openai, upload_id, b"12345")
        before = list_stored_paths(api)
        with pytest.raises(BadRequestError, match="have more than the 10 bytes") as raised:
            add_part(openai, upload_id, b"678901")
        assert raised.value.param == "data"
        assert list_stored_paths(api) == before
        last = add_part(openai, upload_id, b"67890")
        assert openai.uploads.complete(upload_id, part_ids=[first, last]).status == "completed"

    def test_parallel_parts_cannot_exceed_the_upload(self, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 20)

        def send(number: int) -> bool:
            try:
                return bool(add_part(openai, upload_id, b"%05d" % number))
            except BadRequestError:
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(send, range(8))) == 4

    def test_same_part_too_often(self, openai: OpenAI, sessions: SessionMaker) -> None:
        """A part may be sent again, since its response may be lost, but not without limit."""
        upload_id = create_upload(openai, 10)
        with transaction(sessions) as session:
            part = UploadPart(
                id="part_big",
                upload_id=upload_id,
                bytes=uploads.MAX_PART_BYTES + 19,
                sha256=hashlib.sha256(b"a").hexdigest(),
                storage_key="x",
            )
            session.add(part)
        add_part(openai, upload_id, b"a")
        with pytest.raises(BadRequestError, match="sent again too often"):
            add_part(openai, upload_id, b"a")

    def test_parts_are_checked_by_totals_that_the_upload_carries(
        self, openai: OpenAI, sessions: SessionMaker
    ) -> None:
        """Summing up the parts at each part would make many of them quadratic."""
        upload_id = create_upload(openai, 10)
        for content in (b"abc", b"abc", b"de"):
            add_part(openai, upload_id, content)
        with transaction(sessions) as session:
            upload = session.get_one(UploadRow, upload_id)
            totals = (upload.part_count, upload.part_bytes, upload.unique_part_bytes)
            assert totals == (3, 8, 5)
            upload.part_count = uploads.MAX_PARTS
        with pytest.raises(BadRequestError, match="at most 10000 parts"):
            add_part(openai, upload_id, b"f")

    def test_upload_ends_during_a_part(self, api: Api, http: httpx.Client, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 10)
        before = list_stored_paths(api)

        def stream_body() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\nabc'
            openai.uploads.cancel(upload_id)
            yield b"\r\n--b--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        response = http.post(
            f"/v1/uploads/{upload_id}/parts", content=stream_body(), headers=headers
        )
        assert "already cancelled" in str(expect_error(response, 400)["message"])
        assert list_stored_paths(api) == before


class TestInvalidComplete:
    @pytest.fixture
    def upload_of_three_parts(self, openai: OpenAI) -> tuple[str, list[str]]:
        """An upload of 36 lines, and its parts of 12 each."""
        upload_id = create_upload(openai, 3 * len(GOOD))
        return upload_id, [add_part(openai, upload_id, GOOD) for _ in range(3)]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda ids: ids[:2], "have 2112 bytes together"),
            (lambda ids: [], "have 0 bytes together"),
            (lambda ids: [*ids[:2], ids[1]], "each part once"),
            (lambda ids: [*ids[:2], "part_abc123"], "has no part 'part_abc123'"),
        ],
    )
    def test_wrong_part_ids(
        self,
        openai: OpenAI,
        upload_of_three_parts: tuple[str, list[str]],
        change: object,
        message: str,
    ) -> None:
        upload_id, ids = upload_of_three_parts
        assert callable(change)
        with pytest.raises(BadRequestError, match=message) as raised:
            openai.uploads.complete(upload_id, part_ids=change(ids))
        assert raised.value.param == "part_ids"
        assert openai.uploads.complete(upload_id, part_ids=ids).status == "completed"

    def test_parts_of_another_upload(
        self, openai: OpenAI, upload_of_three_parts: tuple[str, list[str]]
    ) -> None:
        upload_id, ids = upload_of_three_parts
        other = add_part(openai, create_upload(openai, len(GOOD)), GOOD)
        with pytest.raises(BadRequestError, match=other):
            openai.uploads.complete(upload_id, part_ids=[*ids[:2], other])

    @pytest.mark.parametrize("md5", ["0" * 32, "md5", ""])
    def test_wrong_checksum(
        self, api: Api, openai: OpenAI, upload_of_three_parts: tuple[str, list[str]], md5: str
    ) -> None:
        upload_id, ids = upload_of_three_parts
        before = list_stored_paths(api)
        with pytest.raises(BadRequestError, match="MD5") as raised:
            openai.uploads.complete(upload_id, part_ids=ids, md5=md5)
        assert raised.value.param == "md5"
        assert list_stored_paths(api) == before
        assert openai.uploads.complete(upload_id, part_ids=ids).status == "completed"

    def test_empty_file(self, openai: OpenAI) -> None:
        with pytest.raises(BadRequestError, match="empty"):
            openai.uploads.complete(create_upload(openai, 0), part_ids=[])

    def test_part_is_lost_from_the_store(
        self, api: Api, openai: OpenAI, upload_of_three_parts: tuple[str, list[str]]
    ) -> None:
        upload_id, ids = upload_of_three_parts
        api.state.store.delete(next(key for key in api.state.store.list("") if ids[1] in key))
        with pytest.raises(BadRequestError, match=ids[1]):
            openai.uploads.complete(upload_id, part_ids=ids)
        again = add_part(openai, upload_id, GOOD)
        part_ids = [ids[0], again, ids[2]]
        assert openai.uploads.complete(upload_id, part_ids=part_ids).status == "completed"

    @pytest.mark.parametrize("end", ["completed", "cancelled", "expired", "overdue"])
    def test_ended_upload_rejects_requests(
        self,
        openai: OpenAI,
        upload_of_three_parts: tuple[str, list[str]],
        sessions: SessionMaker,
        end: str,
    ) -> None:
        upload_id, ids = upload_of_three_parts
        if end == "completed":
            openai.uploads.complete(upload_id, part_ids=ids)
        elif end == "cancelled":
            openai.uploads.cancel(upload_id)
        else:
            with transaction(sessions) as session:
                session.execute(update(UploadRow).values(expires_at=func.now()))
            if end == "expired":
                with transaction(sessions) as session:
                    uploads.expire(session)
        calls = [
            lambda: add_part(openai, upload_id, GOOD),
            lambda: openai.uploads.complete(upload_id, part_ids=ids[::-1]),
        ]
        if end not in ("cancelled", "overdue"):
            calls.append(lambda: openai.uploads.cancel(upload_id))
        for call in calls:
            with pytest.raises(BadRequestError, match=upload_id) as raised:
                call()
            assert raised.value.param == "id"

    @pytest.mark.parametrize("route", ["parts", "complete", "cancel"])
    @pytest.mark.parametrize("owner", ["no one", "another project"])
    def test_unknown_upload_or_of_another_project(
        self,
        openai: OpenAI,
        http: httpx.Client,
        other_tenant: httpx.Client,
        upload_of_three_parts: tuple[str, list[str]],
        route: str,
        owner: str,
    ) -> None:
        upload_id = "upload_abc123" if owner == "no one" else upload_of_three_parts[0]
        client = http if owner == "no one" else other_tenant
        url = f"/v1/uploads/{upload_id}/{route}"
        sent: dict[str, object] = {"files": {"data": b"x"}}
        if route != "parts":
            sent = {"json": {"part_ids": upload_of_three_parts[1]}}
        error = expect_error(client.post(url, **sent), 404)  # type: ignore[arg-type]
        assert error == {
            "message": f"No such Upload object: {upload_id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }


class TestRepeatedRequests:
    def test_concurrent_completions_make_one_file(
        self, openai: OpenAI, sessions: SessionMaker
    ) -> None:
        data = LINE * 20_000
        upload_id = create_upload(openai, len(data))
        ids = [add_part(openai, upload_id, piece) for piece in split_bytes(data, 2**20)]
        start = threading.Barrier(4)

        def complete() -> Upload:
            start.wait(120)
            return openai.uploads.complete(upload_id, part_ids=ids)

        with ThreadPoolExecutor(4) as pool:
            done = [future.result() for future in [pool.submit(complete) for _ in range(4)]]
        assert all(upload == done[0] for upload in done)
        with transaction(sessions) as session:
            assert session.scalar(select(func.count()).select_from(File)) == 1

    def test_repeated_completion_gets_the_same_file(self, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 3, purpose="vision", name="a.png")
        part_id = add_part(openai, upload_id, b"abc")
        first = openai.uploads.complete(
            upload_id, part_ids=[part_id], md5="900150983cd24fb0d6963f7d28e17f72"
        )
        assert openai.uploads.complete(upload_id, part_ids=[part_id]) == first
        with pytest.raises(BadRequestError, match="already completed"):
            openai.uploads.complete(upload_id, part_ids=[part_id], md5="another")

    def test_cancel_is_idempotent(self, openai: OpenAI) -> None:
        upload_id = create_upload(openai, 3)
        cancelled = openai.uploads.cancel(upload_id)
        assert cancelled.status == "cancelled"
        assert openai.uploads.cancel(upload_id) == cancelled

    def test_expired_claim_is_taken_over(self, openai: OpenAI, sessions: SessionMaker) -> None:
        upload_id = create_upload(openai, 3, purpose="vision", name="a.png")
        part_id = add_part(openai, upload_id, b"abc")
        with transaction(sessions) as session:
            session.execute(
                update(UploadRow).values(state="completing", claim="dead", claimed_until=func.now())
            )
        assert openai.uploads.complete(upload_id, part_ids=[part_id]).status == "completed"

    def test_parts_are_rejected_during_completion(
        self, openai: OpenAI, sessions: SessionMaker
    ) -> None:
        upload_id = create_upload(openai, 3)
        with transaction(sessions) as session:
            session.execute(
                update(UploadRow).values(
                    state="completing",
                    claim="alive",
                    claimed_until=func.now() + uploads.CLAIM_TIMEOUT,
                )
            )
            uploads.expire(session)
        with pytest.raises(BadRequestError, match="is being completed"):
            add_part(openai, upload_id, b"abc")
        assert openai.uploads.cancel(upload_id).status == "cancelled"


def test_unknown_upload_does_not_read_the_part(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        add_part(openai, "upload_abc123", b"x" * 2**20)
