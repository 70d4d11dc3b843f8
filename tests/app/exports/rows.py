"""Rows of exports, and what is stored for them."""

from pathlib import Path

from sqlalchemy.orm import Session

from app.db.tables import ExportFormat, ExportState, ModelExport, Project
from app.storage import join_key
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Api

MODEL = "ft:base:acme:desk:Abcd1234"


def add_export(session: Session, project: Project, name: str) -> ModelExport:
    """Add a model and its queued export."""
    job = make_job(session, project, base_model="base", state="succeeded")
    make_model(session, job, name)
    row = ModelExport(
        id=f"export_{name[-8:]}",
        project_id=project.id,
        model_name=name,
        format=ExportFormat.PEFT,
        state=ExportState.QUEUED,
    )
    session.add(row)
    session.commit()
    return row


def store_export(session: Session, api: Api, row: ModelExport, *, size: int = 3) -> str:
    """Store an archive for a row, which then says that it has `size` bytes."""
    key = f"projects/{row.project_id}/exports/{row.id}"
    api.state.store.put(key, b"tar")
    row.state, row.storage_key, row.bytes, row.sha256 = ExportState.READY, key, size, "0" * 64
    session.commit()
    return key


def store_adapter(api: Api, folder: Path, prefix: str) -> None:
    """Store a checkpoint's files under its prefix."""
    for path in folder.iterdir():
        api.state.store.upload(path, join_key(prefix, path.name))
