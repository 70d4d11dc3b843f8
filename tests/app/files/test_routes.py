"""Routes of /v1/files: uploads in the form of both SDKs, invalid forms, lists, content."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from sqlalchemy import event, func, update
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import File, Project
from app.storage import MARKER_KEY, file_key
from tests.app.http.test_admission import expect_error
from tests.factories import make_file
from tests.live_api import Account, Api
from tests.polling import wait_until

LINE = b'{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}\n'
GOOD = LINE * 12
BOUNDARY = "b0undary"


def build_form_part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
    return head.encode() + value + b"\r\n"


def build_file_part(parameters: bytes) -> bytes:
    """Build a file part with other parameters instead of `filename`."""
    return FILE.replace(b'filename="train.jsonl"', parameters)


END = f"--{BOUNDARY}--\r\n".encode()
FILE = build_form_part("file", GOOD, filename="train.jsonl")
PURPOSE = build_form_part("purpose", b"fine-tune")


def post(http: httpx.Client, body: bytes | Iterator[bytes]) -> httpx.Response:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return http.post("/v1/files", content=body, headers=headers)


def list_stored_paths(api: Api) -> list[Path]:
    """List all files in the store's folder, including unfinished ones but not the marker."""
    root = api.state.settings.home / "storage"
    paths = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.name != MARKER_KEY)


class TestUpload:
    def test_form_of_the_python_sdk(self, openai: OpenAI) -> None:
        created = openai.files.create(file=("train.jsonl", GOOD), purpose="fine-tune")
        assert created.id.startswith("file-")
        assert created.bytes == len(GOOD)
        assert created.filename == "train.jsonl"
        assert (created.status, created.status_details) == ("processed", None)
        assert created.expires_at is None
        assert openai.files.retrieve(created.id) == created
        assert openai.files.content(created.id).read() == GOOD

    def test_every_transaction_holds_a_db_slot(self, api: Api, http: httpx.Client) -> None:
        """Otherwise concurrent uploads would use more connections than there are slots."""
        borrowed: list[int] = []

        def after_begin(*_: object) -> None:
            # The traffic recorder runs in the background at any time.
            if threading.current_thread().name != "recorder":
                borrowed.append(api.state.db_slots.in_use)

        makers = (api.state.sessions, api.state.autocommit_sessions)
        for maker in makers:
            event.listen(maker, "after_begin", after_begin)
        try:
            assert post(http, FILE + PURPOSE + END).status_code == 200
        finally:
            for maker in makers:
                event.remove(maker, "after_begin", after_begin)
        assert borrowed == [1, 1, 1], "one for the key, the reservation and the file"

    def test_bytes_without_a_filename(self, openai: OpenAI) -> None:
        assert openai.files.create(file=GOOD, purpose="fine-tune").filename == "upload"

    def test_form_of_the_node_sdk(self, http: httpx.Client) -> None:
        """File first, in chunks that split boundaries, headers and lines anywhere."""
        body = FILE + PURPOSE + END
        pieces = (body[start : start + 7] for start in range(0, len(body), 7))
        response = post(http, pieces)
        assert response.status_code == 200, response.text
        assert response.json()["bytes"] == len(GOOD)
        assert response.json()["status"] == "processed"
        assert http.get(f"/v1/files/{response.json()['id']}/content").content == GOOD

    def test_content_that_resembles_a_boundary(self, http: httpx.Client) -> None:
        data = f"\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY}x\r\n\r\r\n".encode() * 50
        response = post(
            http,
            build_form_part("purpose", b"user_data")
            + build_form_part("file", data, filename="x")
            + END,
        )
        if response.status_code == 200:
            assert http.get(f"/v1/files/{response.json()['id']}/content").content == data
        else:
            expect_error(response, 400)

    def test_expires_after(self, openai: OpenAI) -> None:
        created = openai.files.create(
            file=("a.txt", b"text"),
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert created.expires_at is not None
        assert created.expires_at - created.created_at in (3600, 3601)

    @pytest.mark.parametrize("purpose", ["assistants", "batch", "vision", "user_data", "evals"])
    def test_other_purposes_are_not_validated(self, http: httpx.Client, purpose: str) -> None:
        name = "a.jsonl" if purpose == "batch" else "a.png"
        body = build_form_part("file", b"\x89PNG\n", filename=name) + build_form_part(
            "purpose", purpose.encode()
        )
        response = post(http, body + END)
        assert response.status_code == 200, response.text
        assert response.json()["status"] == "processed"
        assert response.json()["purpose"] == purpose

    def test_status_details_name_the_line_of_an_error(
        self, openai: OpenAI, session: Session
    ) -> None:
        created = openai.files.create(file=("bad.jsonl", GOOD + b"{oops}\n"), purpose="fine-tune")
        assert created.status == "error"
        assert "line 13" in str(created.status_details)
        row = session.get_one(File, created.id)
        assert row.validation_errors is not None
        assert row.validation_errors["count"] == 1
        assert row.validation_errors["first"][0]["line"] == 13
        assert row.validation_errors["first"][0]["offset"] == len(GOOD)
        assert (row.format, row.examples) == ("chat", 13)

    def test_validation_report_has_the_first_hundred_errors(
        self, http: httpx.Client, other_tenant: httpx.Client
    ) -> None:
        body = PURPOSE + build_form_part("file", GOOD + b"{}\n" * 120, filename="bad.jsonl") + END
        url = f"/v1/files/{post(http, body).json()['id']}/validation"
        report = http.get(url).json()
        assert (report["object"], report["status"]) == ("file.validation", "error")
        assert (report["examples"], report["error_count"]) == (132, 120)
        assert len(report["errors"]) == 100
        for number, error in enumerate(report["errors"]):
            assert error["line"] == 13 + number
            assert error["offset"] == len(GOOD) + 3 * number
            assert "is missing key 'messages'" in error["reason"]
        expect_error(other_tenant.get(url), 404)

    def test_validation_report_of_other_purposes_is_empty(self, http: httpx.Client) -> None:
        body = (
            build_form_part("purpose", b"vision")
            + build_form_part("file", b"x", filename="a.png")
            + END
        )
        report = http.get(f"/v1/files/{post(http, body).json()['id']}/validation").json()
        assert (report["status"], report["format"], report["errors"]) == ("processed", None, [])

    @pytest.mark.parametrize(
        ("filename", "expected"),
        [
            ("../../etc/passwd", "passwd"),
            ("C:\\data\\train.jsonl", "train.jsonl"),
            ("Übung \N{SNOWMAN}.jsonl", "Übung \N{SNOWMAN}.jsonl"),
            ("a\tb\x1bc.jsonl", "abc.jsonl"),
            ("a\0b.jsonl", "ab.jsonl"),
            ("\N{RIGHT-TO-LEFT OVERRIDE}fdp.jsonl", "fdp.jsonl"),
            ('a\\"b.jsonl', 'a"b.jsonl'),
            ("a%22b.jsonl", "a%22b.jsonl"),
            ("..", ".."),
            ("", "upload"),
            ("x" * 4000, "x" * 255),
            ("x" * 4000 + ".jsonl", "x" * 249 + ".jsonl"),
        ],
    )
    def test_filename_is_sanitized(self, http: httpx.Client, filename: str, expected: str) -> None:
        response = post(http, PURPOSE + build_form_part("file", GOOD, filename=filename) + END)
        assert response.json()["filename"] == expected
        content = http.get(f"/v1/files/{response.json()['id']}/content")
        assert content.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert content.headers["content-disposition"].isascii()
        assert content.headers["x-content-type-options"] == "nosniff"
        assert content.headers["content-length"] == str(len(GOOD))

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            (b"filename*=utf-8''tr%C3%A4in.jsonl", "träin.jsonl"),
            (b"FileName* = \"UTF-8'de'a%20b.jsonl\"", "a b.jsonl"),
            (b"filename*=utf-8''..%2F..%2Fa%00b.jsonl", "ab.jsonl"),
            # RFC 7578: the plain name takes precedence.
            (b"filename*=utf-8''other.jsonl; filename=\"plain.jsonl\"", "plain.jsonl"),
        ],
    )
    def test_filename_in_rfc_8187_encoding(
        self, http: httpx.Client, parameters: bytes, expected: str
    ) -> None:
        response = post(http, PURPOSE + build_file_part(parameters) + END)
        assert response.status_code == 200, response.text
        assert response.json()["filename"] == expected


class TestInvalidUpload:
    @pytest.mark.parametrize(
        "parameters",
        [
            b"filename*=iso-8859-1'en'a%E4.jsonl",
            b"filename*=utf-8''%ff.jsonl",
            b"filename*=''a.jsonl",
            b"filename*=a.jsonl",
        ],
    )
    def test_filename_in_an_unsupported_encoding(
        self, api: Api, http: httpx.Client, parameters: bytes
    ) -> None:
        before = list_stored_paths(api)
        error = expect_error(post(http, PURPOSE + build_file_part(parameters) + END), 400)
        assert error["param"] == "file"
        assert list_stored_paths(api) == before

    def test_filename_of_ten_kilobytes(self, api: Api, http: httpx.Client) -> None:
        before = list_stored_paths(api)
        long = build_form_part("file", GOOD, filename="x" * 10_240 + ".jsonl")
        error = expect_error(post(http, PURPOSE + long + END), 400)
        assert "a name of at most 255 characters" in str(error["message"])
        assert list_stored_paths(api) == before

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (PURPOSE + END, "file"),
            (FILE + END, "purpose"),
            (FILE + build_form_part("purpose", b"lunch") + END, "purpose"),
            (FILE + build_form_part("purpose", b"fine-tune-results") + END, "purpose"),
            (PURPOSE + build_form_part("file", b"", filename="empty.jsonl") + END, "file"),
            (PURPOSE + build_form_part("file", b"train.jsonl") + END, "file"),
            (PURPOSE + FILE + FILE + END, "file"),
            (PURPOSE + PURPOSE + FILE + END, "purpose"),
            (
                FILE + PURPOSE + build_form_part("expires_after[seconds]", b"3600") + END,
                "expires_after.anchor",
            ),
            (
                FILE
                + PURPOSE
                + build_form_part("expires_after[anchor]", b"created_at")
                + build_form_part("expires_after[seconds]", b"3599")
                + END,
                "expires_after.seconds",
            ),
            (PURPOSE + FILE, None),
            (PURPOSE + FILE[:-40], None),
            (b"no form at all", None),
            (b"", None),
            (END, "file"),
            (f"--{BOUNDARY}\r\n".encode() + b"x" * 2**17, None),
            (f"--{BOUNDARY}\r\n".encode() + b"X-Header: y\r\n" * 5000, None),
            (b"".join(build_form_part(f"f{n}", b"v") for n in range(2000)) + END, None),
        ],
    )
    def test_invalid_form_stores_nothing(
        self, api: Api, http: httpx.Client, body: bytes, param: str | None
    ) -> None:
        before = list_stored_paths(api)
        error = expect_error(post(http, body), 400)
        assert error["param"] == param
        assert list_stored_paths(api) == before
        assert http.get("/v1/files").json()["data"] == []

    @pytest.mark.parametrize(
        "name",
        [
            "train.csv",
            "train.JSON",
            "train.jsonl.gz",
            "x.parquet",
            # Longer than a stored filename.
            "x" * 300 + ".csv",
            "x." + "y" * 300,
            "x.jsonl" + "y" * 300,
        ],
    )
    def test_m36_extension_does_not_match_the_purpose(
        self, api: Api, http: httpx.Client, name: str
    ) -> None:
        before = list_stored_paths(api)
        error = expect_error(
            post(http, PURPOSE + build_form_part("file", GOOD, filename=name) + END), 400
        )
        assert error["param"] == "file"
        assert "Must be .jsonl" in str(error["message"])
        assert list_stored_paths(api) == before

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            f"multipart/form-data; boundary={'x' * 300}",
            "text/plain; boundary=x",
        ],
    )
    def test_wrong_content_type(self, http: httpx.Client, content_type: str) -> None:
        headers = {"Content-Type": content_type}
        response = http.post("/v1/files", content=FILE + PURPOSE + END, headers=headers)
        assert "multipart/form-data" in str(expect_error(response, 400)["message"])

    def test_file_above_the_limit(self, api: Api, http: httpx.Client) -> None:
        before = list_stored_paths(api)
        big = build_form_part("file", b"x" * (4 * 2**20 + 1), filename="big")
        response = post(http, build_form_part("purpose", b"user_data") + big + END)
        assert expect_error(response, 413)["param"] == "file"
        assert list_stored_paths(api) == before

    def test_field_above_the_limit(self, http: httpx.Client) -> None:
        expect_error(post(http, build_form_part("purpose", b"x" * 10_000) + FILE + END), 413)

    def test_client_disconnects_halfway(self, api: Api, http: httpx.Client) -> None:
        before = list_stored_paths(api)

        def send_half() -> Iterator[bytes]:
            yield PURPOSE + FILE
            raise ConnectionError("the client's network is gone")

        with pytest.raises(ConnectionError):
            post(http, send_half())
        # The server notices a moment later.
        wait_until("the partial upload is deleted", lambda: list_stored_paths(api) == before)
        assert http.get("/v1/files").json()["data"] == []


class TestList:
    @pytest.fixture
    def ids(self, openai: OpenAI) -> list[str]:
        """Oldest first."""
        names = [f"{n}.txt" for n in range(5)]
        return [openai.files.create(file=(name, b"text"), purpose="user_data").id for name in names]

    def test_pages_reach_every_file_once(self, openai: OpenAI, ids: list[str]) -> None:
        assert [file.id for file in openai.files.list(limit=2)] == ids[::-1]
        assert [file.id for file in openai.files.list(limit=2, order="asc")] == ids

    def test_same_creation_time_is_ordered_by_id(
        self, openai: OpenAI, ids: list[str], session: Session
    ) -> None:
        session.execute(update(File).values(created_at=func.now()))
        session.commit()
        assert [file.id for file in openai.files.list(limit=1)] == sorted(ids, reverse=True)

    def test_first_and_last_id(self, http: httpx.Client, ids: list[str]) -> None:
        page = http.get("/v1/files", params={"limit": 3}).json()
        assert (page["object"], page["has_more"]) == ("list", True)
        assert (page["first_id"], page["last_id"]) == (ids[4], ids[2])
        empty = http.get("/v1/files", params={"purpose": "vision"}).json()
        assert (empty["data"], empty["has_more"], empty["first_id"]) == ([], False, None)

    def test_filter_by_purpose(self, openai: OpenAI, ids: list[str]) -> None:
        assert len(list(openai.files.list(purpose="user_data"))) == 5
        assert list(openai.files.list(purpose="purpose")) == []

    def test_search_and_filter_by_status(self, http: httpx.Client, openai: OpenAI) -> None:
        openai.files.create(file=("Reviews_100%.jsonl", GOOD), purpose="fine-tune")
        openai.files.create(file=("broken.jsonl", b"{}"), purpose="fine-tune")

        def search(**params: str) -> list[str]:
            return [
                file["filename"] for file in http.get("/v1/files", params=params).json()["data"]
            ]

        assert search(search="reviews_100%") == ["Reviews_100%.jsonl"]
        assert search(search="%") == ["Reviews_100%.jsonl"]
        assert search(search="nothing") == []
        assert search(status="error") == ["broken.jsonl"]
        assert search(status="processed", search="broken") == []
        assert http.get("/v1/files", params={"status": "lost"}).status_code == 400

    def test_cursor_of_a_deleted_file(self, openai: OpenAI, ids: list[str]) -> None:
        openai.files.delete(ids[3])
        assert [file.id for file in openai.files.list(after=ids[3])] == [ids[2], ids[1], ids[0]]

    def test_unknown_cursor_gives_an_empty_page(
        self, http: httpx.Client, other_tenant: httpx.Client, ids: list[str]
    ) -> None:
        nothing = http.get("/v1/files?after=file-x").json()
        assert (nothing["data"], nothing["has_more"]) == ([], False)
        assert other_tenant.get(f"/v1/files?after={ids[0]}").json() == nothing

    @pytest.mark.parametrize("query", ["limit=-1", "limit=10001", "limit=x", "order=up"])
    def test_invalid_queries(self, http: httpx.Client, query: str) -> None:
        error = expect_error(http.get(f"/v1/files?{query}"), 400)
        assert error["param"] == query.partition("=")[0]


class TestNotFound:
    def test_unknown(self, openai: OpenAI) -> None:
        with pytest.raises(NotFoundError) as raised:
            openai.files.retrieve("file-abc123")
        assert raised.value.body == {
            "message": "No such File object: file-abc123",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }

    def test_deleted(self, openai: OpenAI, http: httpx.Client) -> None:
        created = openai.files.create(file=("a.txt", b"text"), purpose="user_data")
        assert openai.files.delete(created.id).deleted
        for call in (openai.files.retrieve, openai.files.content, openai.files.delete):
            with pytest.raises(NotFoundError):
                call(created.id)
        assert list(openai.files.list()) == []

    def test_file_of_an_unfinished_job_cannot_be_deleted(self, openai: OpenAI) -> None:
        """A retry on another trainer reads it again."""
        created = openai.files.create(file=("a.jsonl", GOOD), purpose="fine-tune")
        job = openai.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=created.id)
        with pytest.raises(BadRequestError, match=job.id) as raised:
            openai.files.delete(created.id)
        assert raised.value.param == "id"
        openai.fine_tuning.jobs.cancel(job.id)
        assert openai.files.delete(created.id).deleted

    def test_expired(self, openai: OpenAI, sessions: SessionMaker) -> None:
        created = openai.files.create(file=("a.txt", b"text"), purpose="user_data")
        with transaction(sessions) as session:
            session.execute(update(File).values(expires_at=func.now()))
        with pytest.raises(NotFoundError):
            openai.files.content(created.id)
        assert list(openai.files.list()) == []

    @pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
    def test_of_another_project(
        self, openai: OpenAI, other_tenant: httpx.Client, method: str, path: str
    ) -> None:
        created = openai.files.create(file=("a.txt", b"text"), purpose="user_data")
        expect_error(other_tenant.request(method, f"/v1/files/{created.id}{path}"), 404)
        assert openai.files.retrieve(created.id) == created


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * 2**20 + 1])
def test_result_file_is_sent_as_base64(
    api: Api, account: Account, http: httpx.Client, sessions: SessionMaker, size: int
) -> None:
    csv = b"step,train_loss\n"[:size] if size < 4 else b"1" * size
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        file = make_file(session, project, purpose="fine-tune-results", bytes=len(csv))
    api.state.store.put(file_key(project.id, file.id), csv)
    response = http.get(f"/v1/files/{file.id}/content")
    assert base64.b64decode(response.content, validate=True) == csv
    assert response.headers["content-length"] == str(len(response.content))
