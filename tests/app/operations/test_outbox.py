"""The transactional outbox: notifications after the commit, dispatch, retries."""

import threading

import pytest
from sqlalchemy import Engine, func, select, text, update

from app.db import outbox
from app.db.deletion_hold import hold_deletions, permit_deletions
from app.db.session import SessionMaker, transaction
from app.db.tables import Outbox, WorkerTask
from app.operations import outbox_dispatch
from app.storage import ObjectStore, file_key
from tests.polling import wait_until


class FakeNotifier:
    """Records notifications; fails while the broker is unavailable."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, str]] = []
        self.is_unavailable = False

    def notify(self, task: str, job_id: str) -> bool:
        if not self.is_unavailable:
            self.notified.append((task, job_id))
        return not self.is_unavailable


@pytest.fixture
def notifier() -> FakeNotifier:
    return FakeNotifier()


def count_pending(sessions: SessionMaker) -> int:
    with transaction(sessions) as session:
        rows = select(func.count()).select_from(Outbox).where(Outbox.done_at.is_(None))
        return session.scalars(rows).one()


def is_lock_awaited(sessions: SessionMaker) -> bool:
    with transaction(sessions) as session:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(session.scalar(waiting))


def make_due(sessions: SessionMaker) -> None:
    """Make failed rows due now instead of after their backoff."""
    with transaction(sessions) as session:
        session.execute(update(Outbox).values(available_at=Outbox.created_at))


class TestNotifyAfterCommit:
    def test_a_committed_notification_is_sent_at_once(
        self, sessions: SessionMaker, notifier: FakeNotifier
    ) -> None:
        outbox.notify_after_commit(sessions, notifier.notify)
        with transaction(sessions) as session:
            outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-1")
            assert notifier.notified == []
        assert notifier.notified == [("train", "job-1")]
        assert count_pending(sessions) == 1

    def test_a_notification_that_was_rolled_back_is_never_sent(
        self, sessions: SessionMaker, notifier: FakeNotifier
    ) -> None:
        outbox.notify_after_commit(sessions, notifier.notify)
        with sessions() as session:
            outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-1")
            session.rollback()
            session.commit()
            outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-2")
        assert notifier.notified == []
        assert count_pending(sessions) == 0

    def test_releasing_a_savepoint_sends_nothing(
        self, sessions: SessionMaker, notifier: FakeNotifier
    ) -> None:
        outbox.notify_after_commit(sessions, notifier.notify)
        with transaction(sessions) as session:
            with session.begin_nested():
                outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-1")
            assert notifier.notified == []
        assert notifier.notified == [("train", "job-1")]

    def test_notifications_are_sent_after_the_connection_is_returned(
        self, sessions: SessionMaker, notifier: FakeNotifier
    ) -> None:
        """A slow broker must not use up the database's connections."""
        pool = sessions.kw["bind"].pool
        held: list[int] = []
        outbox.notify_after_commit(sessions, lambda *_: held.append(pool.checkedout()) is None)
        with transaction(sessions) as session:
            outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-1")
        assert held == [0]


class TestDispatch:
    def test_pending_rows_are_performed_once(
        self, sessions: SessionMaker, store: ObjectStore, notifier: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-1")
            outbox.enqueue_notification(session, WorkerTask.VALIDATE, "job-2")
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 2
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 0
        assert notifier.notified == [("train", "job-1"), ("validate", "job-2")]

    def test_a_failed_row_is_retried_after_its_backoff(
        self, sessions: SessionMaker, store: ObjectStore, notifier: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            outbox.enqueue_notification(session, WorkerTask.TRAIN, "job-1")
        notifier.is_unavailable = True
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 0
        notifier.is_unavailable = False
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 0
        make_due(sessions)
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 1
        assert notifier.notified == [("train", "job-1")]

    def test_more_than_a_batch_is_performed(
        self, sessions: SessionMaker, store: ObjectStore, notifier: FakeNotifier
    ) -> None:
        count = 2 * outbox_dispatch.BATCH_SIZE + 1
        with transaction(sessions) as session:
            for number in range(count):
                outbox.enqueue_notification(session, WorkerTask.TRAIN, f"job-{number}")
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == count
        assert [job_id for _, job_id in notifier.notified] == [
            f"job-{number}" for number in range(count)
        ]

    def test_two_dispatchers_share_the_rows(
        self, sessions: SessionMaker, store: ObjectStore, notifier: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            for number in range(300):
                outbox.enqueue_notification(session, WorkerTask.TRAIN, f"job-{number}")
        dispatchers = [
            threading.Thread(
                target=outbox_dispatch.dispatch_pending, args=(sessions, notifier.notify, store)
            )
            for _ in range(2)
        ]
        for dispatcher in dispatchers:
            dispatcher.start()
        for dispatcher in dispatchers:
            dispatcher.join()
        assert len(notifier.notified) == len(set(notifier.notified)) == 300

    def test_objects_are_deleted_by_key_and_by_prefix(
        self, sessions: SessionMaker, store: ObjectStore, notifier: FakeNotifier
    ) -> None:
        names = ("a", "b", "c/1", "c/2", "cc/1")
        keys = {name: file_key("proj_1", "file-1") + f"/{name}" for name in names}
        for key in keys.values():
            store.put(key, b"x")
        with transaction(sessions) as session:
            outbox.enqueue_blob_deletion(session, keys["a"])
            outbox.enqueue_prefix_deletion(session, keys["c/1"].removesuffix("/1"))
            # Already deleted, as after a dispatcher was killed before it marked the row as done.
            outbox.enqueue_blob_deletion(session, keys["a"])
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 3
        assert list(store.list("")) == [keys["b"], keys["cc/1"]]

    def test_a_backup_waits_for_one_batch_of_a_long_backlog(
        self,
        sessions: SessionMaker,
        database: Engine,
        store: ObjectStore,
        notifier: FakeNotifier,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        count = 2 * outbox_dispatch.BATCH_SIZE
        with transaction(sessions) as session:
            for number in range(count):
                outbox.enqueue_blob_deletion(session, file_key("proj_1", f"file-{number}"))
        backed_up = threading.Event()

        def back_up() -> None:
            with hold_deletions(database):
                backed_up.wait(60)

        backup = threading.Thread(target=back_up)
        delete = store.delete

        def delete_while_a_backup_waits(key: str) -> None:
            if backup.ident is None:
                backup.start()
                wait_until("a backup waits", lambda: is_lock_awaited(sessions))
            delete(key)

        monkeypatch.setattr(store, "delete", delete_while_a_backup_waits)
        performed = outbox_dispatch.dispatch_pending(sessions, notifier.notify, store)
        backed_up.set()
        backup.join()
        assert performed == outbox_dispatch.BATCH_SIZE
        assert (
            outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == count - performed
        )

    def test_deletions_go_on_as_soon_as_a_backup_ends(
        self, sessions: SessionMaker, database: Engine
    ) -> None:
        for _ in range(20):
            with hold_deletions(database):
                pass
            with permit_deletions(sessions) as may_delete:
                assert may_delete

    def test_a_kind_of_a_newer_version_stays_pending(
        self, sessions: SessionMaker, store: ObjectStore, notifier: FakeNotifier
    ) -> None:
        with transaction(sessions) as session:
            session.add(Outbox(kind="of a newer version", payload={}))
        assert outbox_dispatch.dispatch_pending(sessions, notifier.notify, store) == 0
        assert count_pending(sessions) == 1
