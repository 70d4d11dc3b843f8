"""Identity of the storage: a missing or wrong one is unavailable, never empty, and comes back."""

import shutil
from pathlib import Path

import httpx
import pytest

from app.db.session import SessionMaker, transaction
from app.db.tables import StorageIdentity
from app.operations import storage_identity
from app.operations.storage_identity import open_verified_store
from app.settings import Settings
from app.storage import MARKER_KEY, ObjectStore, StorageMismatch, VerifiedStore, open_store
from tests.app.files.test_quota import upload
from tests.factories import make_file, make_project
from tests.live_api import Api


@pytest.fixture
def verified(settings: Settings, sessions: SessionMaker) -> ObjectStore:
    return open_verified_store(settings, sessions)


def unmount(settings: Settings) -> Path:
    """Leave an empty folder in place of the storage; return where its content is."""
    root = settings.home / "storage"
    hidden = root.with_name("unmounted")
    root.rename(hidden)
    root.mkdir()
    return hidden


def mount(settings: Settings, hidden: Path) -> None:
    root = settings.home / "storage"
    shutil.rmtree(root, ignore_errors=True)
    hidden.rename(root)


class TestA60Unmounted:
    @pytest.mark.parametrize("is_removed", [False, True], ids=["empty folder", "no folder"])
    def test_nothing_is_read_written_or_made(
        self, verified: ObjectStore, settings: Settings, tmp_path: Path, is_removed: bool
    ) -> None:
        verified.put("projects/a", b"1")
        hidden = unmount(settings)
        root = settings.home / "storage"
        if is_removed:
            root.rmdir()
        with pytest.raises(StorageMismatch):
            verified.get("projects/a")
        with pytest.raises(StorageMismatch):
            verified.chunks("projects/a")
        with pytest.raises(StorageMismatch):
            verified.download("projects/a", tmp_path / "a")
        with pytest.raises(StorageMismatch):
            verified.put("projects/b", b"2")
        with pytest.raises(StorageMismatch):
            verified.upload(Path(__file__), "projects/b")
        with pytest.raises(StorageMismatch), verified.writer("projects/b"):
            pass
        with pytest.raises(StorageMismatch):
            verified.delete("projects/a")
        with pytest.raises(StorageMismatch):
            verified.list("")
        with pytest.raises(StorageMismatch):
            verified.check()
        assert not root.exists() or list(root.iterdir()) == [], "a new storage was begun"
        mount(settings, hidden)
        assert verified.get("projects/a") == b"1"
        verified.check()

    def test_a_write_during_which_it_vanishes_stores_nothing(
        self, verified: ObjectStore, settings: Settings
    ) -> None:
        verified.check()

        def write() -> None:
            with verified.writer("projects/b") as writer:
                writer.write(b"1")
                unmount(settings)

        with pytest.raises(StorageMismatch):
            write()
        assert list((settings.home / "storage").iterdir()) == []
        mount(settings, settings.home / "unmounted")
        assert list(verified.list("projects/")) == []

    def test_another_storage_in_its_place(self, verified: ObjectStore, settings: Settings) -> None:
        verified.check()
        unmount(settings)
        open_store(settings).put(MARKER_KEY, b"another")
        with pytest.raises(StorageMismatch, match="the marker of another"):
            verified.get("projects/a")

    def test_the_engine_without_a_database_calls_nothing_missing(
        self, settings: Settings, sessions: SessionMaker
    ) -> None:
        engine = VerifiedStore(open_store(settings), lambda: None, interval_seconds=0)
        with pytest.raises(StorageMismatch):
            engine.get("projects/a")
        open_verified_store(settings, sessions).check()
        with pytest.raises(FileNotFoundError):
            engine.get("projects/a")

    def test_readiness_says_so_and_requests_get_503(self, api: Api, http: httpx.Client) -> None:
        file_id = upload(http).json()["id"]
        hidden = unmount(api.state.settings)
        try:
            ready = http.get("/readyz")
            assert ready.status_code == 503
            sentence = ready.json()["checks"]["storage"]["message"]
            assert "its marker is missing. Mount it again" in sentence
            assert str(api.state.settings.home) not in sentence
            assert http.get(f"/v1/files/{file_id}/content").status_code == 503
            assert upload(http).status_code == 503
        finally:
            mount(api.state.settings, hidden)
        assert http.get("/readyz").json()["checks"]["storage"]["ok"]
        assert http.get(f"/v1/files/{file_id}/content").status_code == 200


class TestA60Adoption:
    def test_all_processes_agree_on_the_first_marker(
        self, settings: Settings, sessions: SessionMaker
    ) -> None:
        store = open_store(settings)
        first = storage_identity.ensure_marker(sessions, store)
        assert storage_identity.ensure_marker(sessions, store) == first
        assert store.get(MARKER_KEY).decode() == first

    def test_a_shared_bucket_keeps_its_marker(
        self, settings: Settings, sessions: SessionMaker
    ) -> None:
        store = open_store(settings)
        store.put(MARKER_KEY, b"of-another-installation")
        assert storage_identity.ensure_marker(sessions, store) == "of-another-installation"

    def test_an_existing_installation_adopts_the_storage_with_its_objects(
        self, settings: Settings, sessions: SessionMaker
    ) -> None:
        store = open_store(settings)
        with transaction(sessions) as session:
            project = make_project(session)
            lost, kept = (make_file(session, project) for _ in range(2))
        with pytest.raises(StorageMismatch, match="none of the objects"):
            storage_identity.ensure_marker(sessions, store)
        assert list(store.list("")) == []
        store.put(kept.storage_key, b"1")
        storage_identity.ensure_marker(sessions, store)
        assert lost.storage_key != kept.storage_key

    def test_an_operator_can_adopt_a_new_storage(
        self, settings: Settings, sessions: SessionMaker
    ) -> None:
        store = open_store(settings)
        with transaction(sessions) as session:
            session.add(StorageIdentity(id=1, marker="lost"))
            make_file(session, make_project(session))
        with pytest.raises(StorageMismatch):
            open_verified_store(settings, sessions).check()
        storage_identity.adopt(sessions, store)
        open_verified_store(settings, sessions).check()
