"""/v1/uploads on an S3 store: parts become one file, and nothing else remains."""

from pathlib import Path

from openai import OpenAI

from app.db.session import SessionMaker, transaction
from app.files import uploads
from app.main import create_app
from app.operations import outbox_dispatch
from app.settings import Settings
from app.storage import open_store
from tests.app.files.test_routes import GOOD
from tests.conftest import ROOT
from tests.live_api import create_account
from tests.live_server import run_server


def test_parts_become_a_file_in_a_bucket(
    s3_settings: Settings,
    sessions: SessionMaker,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    settings = s3_settings.model_copy(
        update={
            "home": tmp_path,
            "database_url": database_url,
            "redis_url": redis_url,
            "models_file": ROOT / "tests/models.toml",
        }
    )
    store = open_store(settings)
    account = create_account(sessions, "acme")
    # Over 8 MiB in one part, so that the store's own parts begin and end inside ours.
    second = GOOD * (9 * 2**20 // len(GOOD))
    with (
        run_server(create_app(settings)) as url,
        OpenAI(base_url=f"{url}/v1", api_key=account.secret, max_retries=0) as openai,
    ):
        upload = openai.uploads.create(
            filename="a.jsonl",
            purpose="fine-tune",
            bytes=len(GOOD + second),
            mime_type="application/jsonl",
        )
        parts = [openai.uploads.parts.create(upload.id, data=data).id for data in (second, GOOD)]
        file = openai.uploads.complete(upload.id, part_ids=parts[::-1]).file
        assert file is not None
        assert (file.status, file.bytes) == ("processed", len(GOOD + second))
        assert openai.files.content(file.id).read() == GOOD + second
    assert sum("/uploads/" in key for key in store.list("")) == 2
    with transaction(sessions) as session:
        uploads.remove_parts(session)
    outbox_dispatch.dispatch_pending(sessions, lambda *_: None, store)
    (left,) = store.list("projects/")
    assert left.endswith(file.id)
