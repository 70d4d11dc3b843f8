"""Identity of the storage: a marker object in it that the database knows.

The first process that needs the storage writes the marker, or adopts the one that it finds: several
installations may share a bucket. With a database that knows objects already, as after an upgrade, a
storage is adopted only if it has at least one of the newest.
"""

import secrets
from collections.abc import Callable, Iterator

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import logs
from app.db.session import SessionMaker, create_database_engine, session_maker, transaction
from app.db.tables import Checkpoint, File, StorageIdentity
from app.settings import Settings
from app.storage import (
    MARKER_KEY,
    AlreadyExists,
    ObjectStore,
    StorageMismatch,
    VerifiedStore,
    join_key,
    open_store,
    read_marker,
)

log = logs.get_logger(__name__)

# A local marker is read before each operation; a bucket cannot vanish behind its address.
BUCKET_CHECK_INTERVAL_SECONDS = 30.0
MAX_SAMPLED_OBJECTS = 20
MANIFEST_NAME = "manifest.json"
FOREIGN_STORAGE = (
    "The storage has none of the objects that the database knows. Mount the right one, or correct "
    "its address; if it is lost, run `luthier storage adopt`."
)


def open_verified_store(settings: Settings, sessions: SessionMaker) -> ObjectStore:
    """Open the configured store, which raises StorageMismatch while it is not the database's."""
    store = open_store(settings)
    interval = 0.0 if settings.s3_bucket is None else BUCKET_CHECK_INTERVAL_SECONDS
    get_marker = _remember(lambda: ensure_marker(sessions, store))
    return VerifiedStore(store, get_marker, interval_seconds=interval)


def ensure_marker(sessions: SessionMaker, store: ObjectStore) -> str:
    """Return the marker that the storage must have; adopt the storage if the database knows none.

    Raises StorageMismatch, StorageUnavailable or DatabaseUnavailable.
    """
    with transaction(sessions) as session:
        known = find_marker(session)
        keys = [] if known is not None else list(_sample_keys(session))
    if known is not None:
        return known
    if keys and not any(_exists(store, key) for key in keys):
        raise StorageMismatch(FOREIGN_STORAGE)
    marker = _read_or_write_marker(store)
    log.info("storage.adopted")
    with transaction(sessions) as session:
        row = insert(StorageIdentity).values(id=1, marker=marker)
        session.execute(row.on_conflict_do_nothing())
        return session.scalars(select(StorageIdentity.marker)).one()


def find_marker(session: Session) -> str | None:
    """Find the marker that the database knows; None also if it is not migrated yet."""
    if session.scalar(select(func.to_regclass(StorageIdentity.__tablename__))) is None:
        return None
    return session.scalars(select(StorageIdentity.marker)).one_or_none()


def adopt(sessions: SessionMaker, store: ObjectStore) -> str:
    """Make the database know the storage as it is, whatever is in it; return the marker.

    Raises StorageUnavailable or DatabaseUnavailable.
    """
    marker = _read_or_write_marker(store)
    with transaction(sessions) as session:
        row = insert(StorageIdentity).values(id=1, marker=marker)
        session.execute(row.on_conflict_do_update(index_elements=["id"], set_={"marker": marker}))
    return marker


def adopt_restored(database_url: str, store: ObjectStore) -> None:
    """Make a restored database know the storage that was restored with it.

    A database of a version that knows no marker adopts the storage when it is migrated and started.
    """
    engine = create_database_engine(database_url, pool_size=1)
    try:
        sessions = session_maker(engine)
        with transaction(sessions) as session:
            known = find_marker(session)
        if known is not None:
            adopt(sessions, store)
    finally:
        engine.dispose()


def _read_or_write_marker(store: ObjectStore) -> str:
    if (marker := read_marker(store)) is not None:
        return marker
    new = secrets.token_hex(16)
    try:
        store.put(MARKER_KEY, new.encode(), if_absent=True)
    except AlreadyExists:
        # Another process has just written one.
        return read_marker(store) or new
    return new


def _sample_keys(session: Session) -> Iterator[str]:
    files = (
        select(File.storage_key)
        .where(File.deleted_at.is_(None))
        .order_by(File.created_at.desc())
        .limit(MAX_SAMPLED_OBJECTS)
    )
    yield from session.scalars(files)
    checkpoints = (
        select(Checkpoint.storage_prefix)
        .where(Checkpoint.deleted_at.is_(None))
        .order_by(Checkpoint.created_at.desc())
        .limit(MAX_SAMPLED_OBJECTS)
    )
    for prefix in session.scalars(checkpoints):
        yield join_key(prefix, MANIFEST_NAME)


def _exists(store: ObjectStore, key: str) -> bool:
    try:
        # Opens the object and reads none of it.
        store.chunks(key)
    except FileNotFoundError:
        return False
    return True


def _remember(find: Callable[[], str]) -> Callable[[], str]:
    """Call `find` until it has succeeded once."""
    found: list[str] = []

    def get() -> str:
        if not found:
            found.append(find())
        return found[0]

    return get
