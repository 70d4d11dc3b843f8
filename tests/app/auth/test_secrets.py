"""Secrets of both kinds of keys, and the update of their last use."""

import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.orm import Session

from app.auth import principals, secrets
from app.db.session import SessionMaker, transaction
from app.db.tables import AdminKey, ApiKey
from app.organization import admin_keys, api_keys, bootstrap


def test_concurrent_requests_do_not_wait_for_the_last_use_update(
    sessions: SessionMaker,
) -> None:
    """One request locks the key's row; the others must not wait for it."""
    with transaction(sessions) as session:
        project = bootstrap.ensure_default_project(session, "acme")
        key, secret = api_keys.create(session, project.id, "busy")
    row_is_locked, may_commit = threading.Event(), threading.Event()

    def hold_row_lock() -> None:
        with transaction(sessions) as session:
            principals.authenticate_project_key(session, secret)
            row_is_locked.set()
            may_commit.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold_row_lock)
        assert row_is_locked.wait(60)
        with transaction(sessions) as session:
            assert principals.authenticate_project_key(session, secret) is not None
        assert not holder.done(), "the second request waited for the first"
        may_commit.set()
        holder.result()
    with transaction(sessions) as session:
        assert session.get_one(ApiKey, key.id).last_used_at is not None


def test_each_kind_of_key_has_its_own_principal(session: Session) -> None:
    project = bootstrap.ensure_default_project(session, "acme")
    _, secret = api_keys.create(session, project.id, "laptop")
    _, admin_secret = admin_keys.create(session, project.organization_id, "ops")
    assert principals.authenticate_admin_key(session, secret) is None
    assert principals.authenticate_project_key(session, admin_secret) is None
    admin = principals.authenticate_admin_key(session, admin_secret)
    assert admin is not None
    assert (admin.organization_id, admin.organization_slug) == (project.organization_id, "acme")


def test_admin_key_is_stored_as_a_hash_and_its_use_recorded(session: Session) -> None:
    organization = bootstrap.ensure_organization(session, "acme")
    key, secret = admin_keys.create(session, organization.id, "ops", expires_in=60)
    assert key.secret_sha256 == secrets.compute_digest(secret)
    assert key.redacted == f"sk-a…{secret[-4:]}"
    assert key.expires_at is not None
    assert not any(secret in str(value) for value in vars(key).values())
    principals.authenticate_admin_key(session, secret)
    session.refresh(key)
    first_use = key.last_used_at
    assert first_use is not None
    principals.authenticate_admin_key(session, secret)
    session.refresh(key)
    assert key.last_used_at == first_use
    assert secrets.revoke(session, AdminKey, AdminKey.id == key.id) == [key]
    assert principals.authenticate_admin_key(session, secret) is None
