"""What a transaction decides on happens if and only if it commits, and survives what is away."""

import threading

import pytest
from sqlalchemy import func, select, update

from app.db import outbox
from app.db.session import SessionMaker, transaction
from app.db.tables import Outbox
from app.operations import outbox_dispatch
from app.storage import BlobStore, file_key


class Bells:
    """Remembers what rang; deaf while the broker is away."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []
        self.away = False

    def ring(self, task: str, job_id: str) -> bool:
        if not self.away:
            self.rung.append((task, job_id))
        return not self.away


@pytest.fixture
def bells() -> Bells:
    return Bells()


def open_rows(sessions: SessionMaker) -> int:
    with transaction(sessions) as session:
        rows = select(func.count()).select_from(Outbox).where(Outbox.done_at.is_(None))
        return session.scalars(rows).one()


def due_again(sessions: SessionMaker) -> None:
    """Spare the test the wait before the next try."""
    with transaction(sessions) as session:
        session.execute(update(Outbox).values(available_at=Outbox.created_at))


class TestRingOnCommit:
    def test_a_committed_bell_rings_at_once(self, sessions: SessionMaker, bells: Bells) -> None:
        outbox.ring_on_commit(sessions, bells.ring)
        with transaction(sessions) as session:
            outbox.bell(session, "train", "job-1")
            assert bells.rung == []
        assert bells.rung == [("train", "job-1")]
        assert open_rows(sessions) == 1

    def test_a_bell_that_was_rolled_back_never_rings(
        self, sessions: SessionMaker, bells: Bells
    ) -> None:
        outbox.ring_on_commit(sessions, bells.ring)
        with sessions() as session:
            outbox.bell(session, "train", "job-1")
            session.rollback()
            session.commit()
            outbox.bell(session, "train", "job-2")
        assert bells.rung == []
        assert open_rows(sessions) == 0

    def test_a_savepoint_is_no_commit(self, sessions: SessionMaker, bells: Bells) -> None:
        outbox.ring_on_commit(sessions, bells.ring)
        with transaction(sessions) as session:
            with session.begin_nested():
                outbox.bell(session, "train", "job-1")
            assert bells.rung == []
        assert bells.rung == [("train", "job-1")]

    def test_it_rings_when_the_connection_is_given_back(
        self, sessions: SessionMaker, bells: Bells
    ) -> None:
        """A slow broker must not use up the database's connections."""
        pool = sessions.kw["bind"].pool
        held: list[int] = []
        outbox.ring_on_commit(sessions, lambda *_: held.append(pool.checkedout()) is None)
        with transaction(sessions) as session:
            outbox.bell(session, "train", "job-1")
        assert held == [0]


class TestRelay:
    def test_what_is_open_is_done_once(
        self, sessions: SessionMaker, store: BlobStore, bells: Bells
    ) -> None:
        with transaction(sessions) as session:
            outbox.bell(session, "train", "job-1")
            outbox.bell(session, "validate", "job-2")
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 2
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 0
        assert bells.rung == [("train", "job-1"), ("validate", "job-2")]

    def test_what_fails_stays_and_is_tried_again_later(
        self, sessions: SessionMaker, store: BlobStore, bells: Bells
    ) -> None:
        with transaction(sessions) as session:
            outbox.bell(session, "train", "job-1")
        bells.away = True
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 0
        bells.away = False
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 0
        due_again(sessions)
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 1
        assert bells.rung == [("train", "job-1")]

    def test_more_than_a_batch_is_done(
        self, sessions: SessionMaker, store: BlobStore, bells: Bells
    ) -> None:
        count = 2 * outbox.BATCH + 1
        with transaction(sessions) as session:
            for number in range(count):
                outbox.bell(session, "train", f"job-{number}")
        assert outbox_dispatch.relay(sessions, bells.ring, store) == count
        assert [job_id for _, job_id in bells.rung] == [f"job-{number}" for number in range(count)]

    def test_two_relays_share_the_work(
        self, sessions: SessionMaker, store: BlobStore, bells: Bells
    ) -> None:
        with transaction(sessions) as session:
            for number in range(300):
                outbox.bell(session, "train", f"job-{number}")
        relays = [
            threading.Thread(target=outbox_dispatch.relay, args=(sessions, bells.ring, store))
            for _ in range(2)
        ]
        for relay in relays:
            relay.start()
        for relay in relays:
            relay.join()
        assert len(bells.rung) == len(set(bells.rung)) == 300

    def test_blobs_are_deleted_one_and_by_folder(
        self, sessions: SessionMaker, store: BlobStore, bells: Bells
    ) -> None:
        names = ("a", "b", "c/1", "c/2", "cc/1")
        keys = {name: file_key("proj_1", "file-1") + f"/{name}" for name in names}
        for key in keys.values():
            store.put(key, b"x")
        with transaction(sessions) as session:
            outbox.delete_blob(session, keys["a"])
            outbox.delete_folder(session, keys["c/1"].removesuffix("/1"))
            # Gone already: a relay that was killed in between does it again.
            outbox.delete_blob(session, keys["a"])
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 3
        assert list(store.list("")) == [keys["b"], keys["cc/1"]]

    def test_a_kind_of_a_newer_version_is_left_for_it(
        self, sessions: SessionMaker, store: BlobStore, bells: Bells
    ) -> None:
        with transaction(sessions) as session:
            session.add(Outbox(kind="to come", payload={}))
        assert outbox_dispatch.relay(sessions, bells.ring, store) == 0
        assert open_rows(sessions) == 1
