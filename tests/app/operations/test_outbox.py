"""What a transaction decides on happens if and only if it commits, and survives what is away."""

import threading

import pytest
from sqlalchemy import func, select, update

from app.db import outbox
from app.db.session import SessionMaker, transaction
from app.db.tables import Outbox
from app.operations import outbox_dispatch
from app.storage import ObjectStore, file_key


class FakeNotifier:
    """Remembers what rang; deaf while the broker is away."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, str]] = []
        self.is_away = False

    def notify(self, task: str, job_id: str) -> bool:
        if not self.is_away:
            self.notified.append((task, job_id))
        return not self.is_away


@pytest.fixture
def bells() -> FakeNotifier:
    return FakeNotifier()


def open_rows(sessions: SessionMaker) -> int:
    with transaction(sessions) as session:
        rows = select(func.count()).select_from(Outbox).where(Outbox.done_at.is_(None))
        return session.scalars(rows).one()


def due_again(sessions: SessionMaker) -> None:
    """Spare the test the wait before the next try."""
    with transaction(sessions) as session:
        session.execute(update(Outbox).values(available_at=Outbox.created_at))


class TestRingOnCommit:
    def test_a_committed_bell_rings_at_once(
        self, sessions: SessionMaker, bells: FakeNotifier
    ) -> None:
        outbox.notify_after_commit(sessions, bells.notify)
        with transaction(sessions) as session:
            outbox.enqueue_hint(session, "train", "job-1")
            assert bells.notified == []
        assert bells.notified == [("train", "job-1")]
        assert open_rows(sessions) == 1

    def test_a_bell_that_was_rolled_back_never_rings(
        self, sessions: SessionMaker, bells: FakeNotifier
    ) -> None:
        outbox.notify_after_commit(sessions, bells.notify)
        with sessions() as session:
            outbox.enqueue_hint(session, "train", "job-1")
            session.rollback()
            session.commit()
            outbox.enqueue_hint(session, "train", "job-2")
        assert bells.notified == []
        assert open_rows(sessions) == 0

    def test_a_savepoint_is_no_commit(self, sessions: SessionMaker, bells: FakeNotifier) -> None:
        outbox.notify_after_commit(sessions, bells.notify)
        with transaction(sessions) as session:
            with session.begin_nested():
                outbox.enqueue_hint(session, "train", "job-1")
            assert bells.notified == []
        assert bells.notified == [("train", "job-1")]

    def test_it_rings_when_the_connection_is_given_back(
        self, sessions: SessionMaker, bells: FakeNotifier
    ) -> None:
        """A slow broker must not use up the database's connections."""
        pool = sessions.kw["bind"].pool
        held: list[int] = []
        outbox.notify_after_commit(sessions, lambda *_: held.append(pool.checkedout()) is None)
        with transaction(sessions) as session:
            outbox.enqueue_hint(session, "train", "job-1")
        assert held == [0]


class TestRelay:
    def test_what_is_open_is_done_once(
        self, sessions: SessionMaker, store: ObjectStore, bells: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            outbox.enqueue_hint(session, "train", "job-1")
            outbox.enqueue_hint(session, "validate", "job-2")
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 2
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 0
        assert bells.notified == [("train", "job-1"), ("validate", "job-2")]

    def test_what_fails_stays_and_is_tried_again_later(
        self, sessions: SessionMaker, store: ObjectStore, bells: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            outbox.enqueue_hint(session, "train", "job-1")
        bells.is_away = True
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 0
        bells.is_away = False
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 0
        due_again(sessions)
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 1
        assert bells.notified == [("train", "job-1")]

    def test_more_than_a_batch_is_done(
        self, sessions: SessionMaker, store: ObjectStore, bells: FakeNotifier
    ) -> None:
        count = 2 * outbox_dispatch.BATCH_SIZE + 1
        with transaction(sessions) as session:
            for number in range(count):
                outbox.enqueue_hint(session, "train", f"job-{number}")
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == count
        assert [job_id for _, job_id in bells.notified] == [
            f"job-{number}" for number in range(count)
        ]

    def test_two_relays_share_the_work(
        self, sessions: SessionMaker, store: ObjectStore, bells: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            for number in range(300):
                outbox.enqueue_hint(session, "train", f"job-{number}")
        relays = [
            threading.Thread(
                target=outbox_dispatch.dispatch_pending, args=(sessions, bells.notify, store)
            )
            for _ in range(2)
        ]
        for relay in relays:
            relay.start()
        for relay in relays:
            relay.join()
        assert len(bells.notified) == len(set(bells.notified)) == 300

    def test_blobs_are_deleted_one_and_by_folder(
        self, sessions: SessionMaker, store: ObjectStore, bells: FakeNotifier
    ) -> None:
        names = ("a", "b", "c/1", "c/2", "cc/1")
        keys = {name: file_key("proj_1", "file-1") + f"/{name}" for name in names}
        for key in keys.values():
            store.put(key, b"x")
        with transaction(sessions) as session:
            outbox.enqueue_blob_deletion(session, keys["a"])
            outbox.enqueue_prefix_deletion(session, keys["c/1"].removesuffix("/1"))
            # Gone already: a relay that was killed in between does it again.
            outbox.enqueue_blob_deletion(session, keys["a"])
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 3
        assert list(store.list("")) == [keys["b"], keys["cc/1"]]

    def test_a_kind_of_a_newer_version_is_left_for_it(
        self, sessions: SessionMaker, store: ObjectStore, bells: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            session.add(Outbox(kind="to come", payload={}))
        assert outbox_dispatch.dispatch_pending(sessions, bells.notify, store) == 0
        assert open_rows(sessions) == 1
