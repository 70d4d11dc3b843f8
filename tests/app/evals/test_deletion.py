"""Deletion of the rows of deleted evals."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Eval
from app.evals import deletion, service
from tests.factories import make_project
from tests.tenants import make_eval


def test_only_rows_deleted_long_ago_go(session: Session) -> None:
    project = make_project(session)
    kept, recent, old = (make_eval(session, project).id for _ in range(3))
    for eval_id in (recent, old):
        service.delete(session, project.id, eval_id)
    session.flush()
    session.execute(
        update(Eval).where(Eval.id == old).values(deleted_at=clock.seconds_from_now(-90_000))
    )
    assert deletion.delete_rows(session, days=1, limit=10) == 1
    assert set(session.scalars(select(Eval.id))) == {kept, recent}
