"""Claims, leases and ends of conversions, and how long archives are kept, in the database."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker
from app.db.tables import FineTunedModel, ModelExport
from app.exports import archives, conversions
from app.exports.conversions import Conversion
from app.operations import outbox_dispatch, retention
from app.operations.orphaned_objects import OrphanCollector
from tests.app.exports.rows import add_export, store_export
from tests.factories import make_project
from tests.live_api import Api


def finish(session: Session, conversion: Conversion | None, **more: int) -> None:
    assert conversion is not None
    stored = {"key": f"projects/p/exports/{conversion.export_id}", "sha256": "0" * 64}
    assert conversions.finish(
        session, conversion.export_id, conversion.attempt, **stored, **{"size": 1, **more}
    )
    session.commit()


def test_a75_projects_take_turns_and_have_one_conversion_at_a_time(session: Session) -> None:
    one, other = make_project(session), make_project(session)
    for project, tag in (
        (one, "Aaaaaaa1"),
        (one, "Aaaaaaa2"),
        (one, "Aaaaaaa3"),
        (other, "Bbbbbbb1"),
    ):
        add_export(session, project, f"ft:base:acme::{tag}")
    claimed = [conversions.claim(session), conversions.claim(session)]
    tags = [conversion.model_name[-8:] for conversion in claimed if conversion is not None]
    assert tags == ["Aaaaaaa1", "Bbbbbbb1"]
    assert conversions.claim(session) is None, "both have one on another trainer"
    finish(session, claimed[0])
    third = conversions.claim(session)
    assert third is not None
    assert third.model_name[-8:] == "Aaaaaaa2"


def test_an_export_of_a_deleted_model_keeps_no_other_waiting(session: Session) -> None:
    project, other = make_project(session), make_project(session)
    gone = add_export(session, project, "ft:base:acme::Aaaaaaa1")
    add_export(session, other, "ft:base:acme::Bbbbbbb1")
    session.get_one(FineTunedModel, gone.model_name).deleted_at = func.clock_timestamp()
    session.commit()
    conversion = conversions.claim(session)
    assert conversion is not None
    assert conversion.model_name[-8:] == "Bbbbbbb1"
    assert session.query(ModelExport).count() == 1


def test_a_lost_lease_records_nothing(session: Session) -> None:
    add_export(session, make_project(session), "ft:base:acme::Aaaaaaa1")
    first = conversions.claim(session)
    session.execute(update(ModelExport).values(lease_until=clock.seconds_from_now(-1)))
    second = conversions.claim(session)
    assert first is not None
    assert second is not None
    assert second.attempt == first.attempt + 1
    assert not conversions.renew(session, first.export_id, first.attempt)
    stored = {"key": "projects/p/exports/x", "size": 1, "sha256": "0" * 64}
    assert not conversions.finish(session, first.export_id, first.attempt, **stored)
    assert conversions.finish(session, second.export_id, second.attempt, **stored)


@pytest.mark.parametrize("reason", ["old", "model deleted"])
def test_unneeded_archives_are_deleted(
    session: Session, sessions: SessionMaker, api: Api, reason: str
) -> None:
    row = add_export(session, make_project(session), "ft:base:acme::Aaaaaaa1")
    key = store_export(session, api, row)
    collector = OrphanCollector(sessions, api.state.store)
    assert [collector.collect(), collector.collect()] == [0, 0], "an export is no orphan"
    retention.sweep(sessions, retention.RetentionPolicy())
    assert list(api.state.store.list(key)) == [key]
    if reason == "old":
        row.wanted_at = clock.subtract_from_now(timedelta(hours=25))
    else:
        session.get_one(FineTunedModel, row.model_name).deleted_at = func.clock_timestamp()
    session.commit()
    retention.sweep(sessions, retention.RetentionPolicy())
    outbox_dispatch.dispatch_pending(sessions, lambda *_: True, api.state.store)
    assert list(api.state.store.list(key)) == []
    session.expire_all()
    assert session.query(ModelExport).count() == 0


def test_a_project_keeps_a_few_archives(session: Session, api: Api) -> None:
    project = make_project(session)
    rows = [add_export(session, project, f"ft:base:acme::Aaaaaaa{n}") for n in range(6)]
    for row in rows[:5]:
        store_export(session, api, row)
    finish(session, conversions.claim(session))
    kept = {row.model_name[-1] for row in session.query(ModelExport)}
    assert kept == {"2", "3", "4", "5"}, "the least recently wanted are deleted"


def test_a75_the_archives_of_a_project_have_a_limit_of_bytes(session: Session, api: Api) -> None:
    project = make_project(session)
    rows = [add_export(session, project, f"ft:base:acme::Aaaaaaa{n}") for n in range(3)]
    for row in rows[:2]:
        store_export(session, api, row, size=40)
    finish(session, conversions.claim(session), size=50, max_project_bytes=100)
    assert {row.model_name[-1] for row in session.query(ModelExport)} == {"1", "2"}
    newest = add_export(session, project, "ft:base:acme::Aaaaaaa9")
    finish(session, conversions.claim(session), size=500, max_project_bytes=100)
    assert session.query(ModelExport).all() == [newest], "the newest one is kept in any case"


def test_a75_the_archives_used_longest_ago_make_room(session: Session, api: Api) -> None:
    """Those of any project, but none that may be in use."""
    rows = [
        add_export(session, make_project(session), f"ft:base:acme::Aaaaaaa{n}") for n in range(4)
    ]
    for minutes, row in zip((5, 60, 90, 30), rows, strict=True):
        store_export(session, api, row, size=10)
        row.wanted_at = clock.subtract_from_now(timedelta(minutes=minutes))
    session.commit()
    assert archives.make_room(session, 15)
    session.commit()
    assert {row.model_name[-1] for row in session.query(ModelExport)} == {"0", "3"}
    assert not archives.make_room(session, 15), "the one that is left is too small"
    assert archives.make_room(session, 10)
    session.commit()
    assert not archives.make_room(session, 10)
    assert {row.model_name[-1] for row in session.query(ModelExport)} == {"0"}
