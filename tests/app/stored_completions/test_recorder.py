"""The recorder: a database that is away, a normal stop, and answers that cannot be saved."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.db.session import DatabaseUnavailable, SessionMaker
from app.db.tables import StoredCompletion
from app.errors import ServiceUnavailable
from app.stored_completions import recorder as recorder_module
from app.stored_completions.recorder import CompletionRecorder, PendingCompletion
from tests.live_api import Account


def make_pending(project_id: str, completion_id: str, text: str = "secret") -> PendingCompletion:
    message = {"role": "assistant", "content": text}
    answer = {"id": completion_id, "model": "base", "choices": [{"index": 0, "message": message}]}
    return PendingCompletion(project_id, b"{}", {}, json.dumps(answer).encode(), False)


def stored_ids(session: Session) -> list[str]:
    return list(session.scalars(select(StoredCompletion.id).order_by(StoredCompletion.id)))


def test_what_was_not_written_is_written_later(
    sessions: SessionMaker, session: Session, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = account.principal.project_id
    recorder = CompletionRecorder(sessions)
    recorder.record(make_pending(project_id, "chatcmpl-1"))

    def fail(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "_write", fail)
        with pytest.raises(DatabaseUnavailable):
            recorder.flush()
        patch.setattr(recorder_module, "MAX_PENDING_BYTES", 10)
        with pytest.raises(ServiceUnavailable, match="cannot be stored"):
            recorder.check_room()
    recorder.record(make_pending(project_id, "chatcmpl-2"))
    recorder.flush()
    recorder.check_room()
    assert stored_ids(session) == ["chatcmpl-1", "chatcmpl-2"]


def test_a_normal_stop_loses_nothing(
    sessions: SessionMaker, session: Session, account: Account
) -> None:
    recorder = CompletionRecorder(sessions)
    recorder.start()
    for number in range(3):
        recorder.record(make_pending(account.principal.project_id, f"chatcmpl-{number}"))
    recorder.stop()
    assert len(stored_ids(session)) == 3


def test_one_that_cannot_be_saved_stops_no_other(
    sessions: SessionMaker, session: Session, account: Account
) -> None:
    recorder = CompletionRecorder(sessions)
    recorder.record(make_pending("proj_gone", "chatcmpl-1"))
    recorder.record(make_pending(account.principal.project_id, "chatcmpl-2"))
    with capture_logs() as logs:
        recorder.flush()
    assert stored_ids(session) == ["chatcmpl-2"]
    assert [entry["event"] for entry in logs] == ["stored_completions.refused"]
    assert "secret" not in str(logs)
