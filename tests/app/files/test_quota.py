"""Storage quota: exact under concurrency, for every kind of stored byte, and repaired by itself."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import text, update

from app.db.session import SessionMaker, transaction
from app.db.tables import Checkpoint, File, StorageUsage
from app.files import quota
from app.files.quota import Usage
from app.settings import Settings
from app.storage import file_key
from tests.app.files.test_routes import GOOD, list_stored_paths
from tests.app.http.test_admission import expect_error
from tests.factories import make_file, make_job, make_project
from tests.live_api import Account, Api

PURPOSE = {"purpose": "fine-tune"}
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def _empty_store(api: Api) -> None:
    """Delete objects of other tests, whose rows are gone."""
    for key in list(api.state.store.list("projects/")):
        api.state.store.delete(key)


def limit(sessions: SessionMaker, account: Account, **limits: int) -> None:
    with transaction(sessions) as session:
        quota.set_limits(session, account.principal.project_id, **limits)


def usage(sessions: SessionMaker, account: Account) -> Usage:
    with transaction(sessions) as session:
        return quota.get_usage(session, account.principal.project_id)


def upload(http: httpx.Client, data: bytes = GOOD, **headers: str) -> httpx.Response:
    return http.post("/v1/files", files={"file": ("a.jsonl", data)}, data=PURPOSE, headers=headers)


def chunked(data: bytes) -> Iterator[bytes]:
    """A form without a declared length."""
    head = (
        '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    yield head.encode()
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]
    yield b"\r\n--b--\r\n"


class TestA50Quota:
    def test_parallel_uploads_cannot_exceed_it_together(
        self, api: Api, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        data = b'{"prompt": "a", "completion": "b"}\n' * 6000
        limit(sessions, account, max_bytes=3 * len(data))
        barrier = threading.Barrier(8)

        def send(_: int) -> httpx.Response:
            barrier.wait()
            return upload(http, data)

        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(send, range(8)))
        accepted = [response for response in responses if response.status_code == 200]
        # A body reserves a little more than its file, so the last one may be refused too.
        assert 2 <= len(accepted) <= 3
        for response in responses:
            if response.status_code != 200:
                error = expect_error(response, 400)
                assert error["code"] == "storage_quota_exceeded"
        assert usage(sessions, account) == Usage(len(accepted) * len(data), len(accepted))
        assert len(list_stored_paths(api)) == len(accepted), "a refused upload stayed stored"

    def test_a_declared_length_is_refused_before_the_body_is_read(
        self, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        limit(sessions, account, max_bytes=MEBIBYTE)
        response = upload(http, bytes(3 * MEBIBYTE))
        error = expect_error(response, 400)
        assert error["code"] == "storage_quota_exceeded"
        assert f"stores 0 of at most {MEBIBYTE} bytes" in error["message"]
        assert "Delete files or models" in error["message"]

    def test_an_undeclared_length_is_refused_while_it_streams(
        self, api: Api, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        limit(sessions, account, max_bytes=MEBIBYTE)
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        response = http.post("/v1/files", content=chunked(bytes(MEBIBYTE + 1)), headers=headers)
        assert expect_error(response, 400)["code"] == "storage_quota_exceeded"
        assert list_stored_paths(api) == []
        response = http.post("/v1/files", content=chunked(bytes(MEBIBYTE)), headers=headers)
        assert response.status_code == 200, response.text

    def test_the_number_of_files(
        self, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        limit(sessions, account, max_files=2)
        ids = [upload(http).json()["id"] for _ in range(2)]
        error = expect_error(upload(http), 400)
        assert error["code"] == "storage_quota_exceeded"
        assert "2 of at most 2 files" in error["message"]
        assert http.delete(f"/v1/files/{ids[0]}").status_code == 200
        assert upload(http).status_code == 200

    def test_parts_count_and_an_upload_that_ends_gives_them_back(
        self, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        limit(sessions, account, max_bytes=3 * MEBIBYTE)
        body = {"filename": "a", "purpose": "user_data", "mime_type": "a/b"}
        too_big = http.post("/v1/uploads", json=body | {"bytes": 4 * MEBIBYTE})
        assert expect_error(too_big, 400)["code"] == "storage_quota_exceeded"
        uploads = [
            http.post("/v1/uploads", json=body | {"bytes": 2 * MEBIBYTE}).json()["id"]
            for _ in range(2)
        ]
        parts = {"data": ("a", bytes(2 * MEBIBYTE))}
        first = http.post(f"/v1/uploads/{uploads[0]}/parts", files=parts)
        assert first.status_code == 200
        assert usage(sessions, account) == Usage(2 * MEBIBYTE, 0)
        second = http.post(f"/v1/uploads/{uploads[1]}/parts", files=parts)
        assert expect_error(second, 400)["code"] == "storage_quota_exceeded"
        done = http.post(
            f"/v1/uploads/{uploads[0]}/complete", json={"part_ids": [first.json()["id"]]}
        )
        assert done.status_code == 200, done.text
        assert usage(sessions, account) == Usage(2 * MEBIBYTE, 1), "parts and file counted twice"

    def test_a_failed_upload_leaves_no_reservation(
        self, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        assert upload(http, b"").status_code == 400
        assert upload(http, **{"Idempotency-Key": "k"}).status_code == 200
        assert upload(http, b"other", **{"Idempotency-Key": "k"}).status_code == 400
        assert usage(sessions, account) == Usage(len(GOOD), 1)

    def test_open_uploads_are_limited(
        self, http: httpx.Client, account: Account, sessions: SessionMaker
    ) -> None:
        limit(sessions, account, max_uploads=3)
        body = {"filename": "a", "purpose": "user_data", "mime_type": "a/b", "bytes": 1}

        def create(_: int) -> httpx.Response:
            return http.post("/v1/uploads", json=body)

        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(create, range(8)))
        created = [response for response in responses if response.status_code == 200]
        assert len(created) == 3
        refused = next(response for response in responses if response.status_code != 200)
        error = expect_error(refused, 429)
        assert "maximum of 3 unfinished upload(s)" in error["message"]
        assert refused.headers["x-should-retry"] == "false"
        upload_id = created[0].json()["id"]
        assert http.post(f"/v1/uploads/{upload_id}/cancel").status_code == 200
        assert create(0).status_code == 200


class TestA50Usage:
    def test_checkpoints_count_for_their_project_until_they_are_deleted(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            job = make_job(session, project)
            checkpoint = Checkpoint(
                id="c",
                job_id=job.id,
                attempt=1,
                step=1,
                kind="user",
                storage_prefix="p",
                manifest_sha256="",
                bytes=70,
                metrics={},
            )
            session.add(checkpoint)
            session.flush()
            before = quota.get_usage(session, project.id)
            checkpoint.bytes = 50
            session.flush()
            assert before.bytes - quota.get_usage(session, project.id).bytes == 20
            checkpoint.deleted_at = checkpoint.created_at
            session.flush()
            assert before.bytes - quota.get_usage(session, project.id).bytes == 70

    def test_a_recount_repairs_any_drift_and_merging_changes_nothing(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            for size in (5, 7):
                make_file(session, project, bytes=size)
            # As after an upgrade, or a restored dump without its triggers.
            session.execute(text("DELETE FROM storage_usage"))
        for work in (quota.recount, quota.merge, quota.recount, quota.merge):
            with transaction(sessions) as session:
                work(session)
                assert quota.get_usage(session, project.id) == Usage(12, 2)
        with transaction(sessions) as session:
            make_file(session, project, bytes=1)
        with transaction(sessions) as session:
            quota.merge(session)
            assert session.query(StorageUsage).count() == 1
            assert quota.get_usage(session, project.id) == Usage(13, 3)

    def test_a_recount_beside_running_transactions_counts_nothing_twice(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            file = make_file(session, project, bytes=5)
        with sessions() as open_session, open_session.begin():
            make_file(open_session, project, bytes=3)
            open_session.execute(
                update(File).where(File.id == file.id).values(deleted_at=text("now()"))
            )
            with transaction(sessions) as session:
                quota.recount(session)
        with transaction(sessions) as session:
            assert quota.get_usage(session, project.id) == Usage(3, 1)

    def test_a_reservation_of_a_killed_process_expires(
        self, sessions: SessionMaker, settings: Settings
    ) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            project.max_storage_bytes = 10
            session.flush()
            room = quota.reserve(session, project.id, settings, size=10, files=1)
            assert room.max_bytes == 10
            with pytest.raises(quota.StorageQuotaExceeded):
                quota.reserve(session, project.id, settings, size=1, files=1)
            session.execute(update(StorageUsage).values(expires_at=text("now() - interval '1s'")))
            assert quota.reserve(session, project.id, settings, size=9, files=1).max_bytes == 9

    def test_a_reservation_waits_for_those_before_it(
        self, sessions: SessionMaker, settings: Settings
    ) -> None:
        """Otherwise both would read the usage without the other's bytes."""
        with transaction(sessions) as session:
            project = make_project(session)
            project.max_storage_bytes = 10

        def reserve() -> quota.Reservation:
            with transaction(sessions) as session:
                return quota.reserve(session, project.id, settings, size=10, files=1)

        with ThreadPoolExecutor(1) as pool:
            with transaction(sessions) as session:
                quota.reserve(session, project.id, settings, size=10, files=1)
                second = pool.submit(reserve)
                with contextlib.suppress(TimeoutError):
                    second.result(timeout=1)
                assert not second.done(), "it did not wait"
            with pytest.raises(quota.StorageQuotaExceeded):
                second.result()

    def test_zero_is_no_limit(self, sessions: SessionMaker, settings: Settings) -> None:
        unlimited = settings.model_copy(
            update={"max_storage_bytes_per_project": 0, "max_files_per_project": 0}
        )
        with transaction(sessions) as session:
            project = make_project(session)
            room = quota.reserve(session, project.id, unlimited, size=2**60, files=10**6)
            room.check(2**62)


def test_a63_a_reused_idempotency_key_leaves_no_object(
    api: Api, http: httpx.Client, account: Account, sessions: SessionMaker
) -> None:
    first = upload(http, **{"Idempotency-Key": "k"}).json()["id"]
    error = expect_error(upload(http, b"other", **{"Idempotency-Key": "k"}), 400)
    assert error["code"] == "idempotency_key_reused"
    keys = list(api.state.store.list("projects/"))
    assert keys == [file_key(account.principal.project_id, first)]
