"""Reserve of free disk space: uploads are refused, all else goes on, and the operator is told."""

import httpx
import pytest

from app.operations import disk_space
from app.settings import Settings
from app.storage import ObjectStore
from tests.app.files.test_quota import upload
from tests.app.http.test_admission import expect_error
from tests.live_api import Api, client_with_secret, create_admin_key
from worker.supervisor.storage_gate import StorageGate

GIB = 2**30


@pytest.fixture
def free_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The free bytes of the API's storage: the last item, which a test changes."""
    free = [100 * GIB]
    monkeypatch.setattr(type(api.state.store), "free_bytes", lambda _: free[-1])
    return free


class TestA50DiskReserve:
    def test_uploads_are_refused_while_reads_and_deletes_go_on(
        self, api: Api, http: httpx.Client, free_bytes: list[int]
    ) -> None:
        file_id = upload(http).json()["id"]
        body = {"filename": "a", "purpose": "user_data", "mime_type": "a/b", "bytes": 1}
        upload_id = http.post("/v1/uploads", json=body).json()["id"]
        free_bytes.append(GIB - 1)
        part = {"data": ("a", b"1")}
        for response in (
            upload(http),
            http.post("/v1/uploads", json=body),
            http.post(f"/v1/uploads/{upload_id}/parts", files=part),
        ):
            assert expect_error(response, 507)["code"] == "insufficient_storage"
            assert response.headers["x-should-retry"] == "false"
        assert http.get(f"/v1/files/{file_id}/content").status_code == 200
        assert http.delete(f"/v1/files/{file_id}").status_code == 200
        free_bytes.append(100 * GIB)
        assert upload(http).status_code == 200

    def test_the_declared_size_counts(self, http: httpx.Client, free_bytes: list[int]) -> None:
        free_bytes.append(GIB + 2**20)
        assert upload(http, bytes(2 * 2**20)).status_code == 507
        assert upload(http).status_code == 200

    def test_readiness_and_metrics_say_so(
        self, api: Api, http: httpx.Client, free_bytes: list[int]
    ) -> None:
        free_bytes.append(GIB // 2)
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "512 MiB left" in ready.json()["checks"]["disk"]["message"]
        with client_with_secret(api, create_admin_key(api.state.sessions, "acme")) as admin:
            metrics = admin.get("/metrics").text
        assert 'luthier_disk_free_bytes{disk="storage"} 5.36870912e+08' in metrics
        assert "luthier_stored_bytes" in metrics

    def test_trainers_wait_below_a_quarter_of_it(
        self, settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = [GIB // 2]
        monkeypatch.setattr(type(store), "free_bytes", lambda _: free[-1])
        assert disk_space.can_train(settings, store)
        free.append(GIB // 4 - 1)
        gate = StorageGate(settings, store)
        assert not gate.is_open()
        free.append(GIB // 4)
        assert gate.is_open()
