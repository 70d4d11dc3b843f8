"""API keys, their principals, and the default project."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.auth import principals, secrets
from app.db.session import SessionMaker, transaction
from app.db.tables import ApiKey, Organization, Project
from app.organization import api_keys, bootstrap


def make_key(session: Session) -> tuple[ApiKey, str]:
    project = bootstrap.ensure_default_project(session, "acme")
    return api_keys.create(session, project.id, "laptop")


class TestCreate:
    def test_only_the_hash_of_the_secret_is_stored(self, session: Session) -> None:
        key, secret = make_key(session)
        assert secret.startswith("sk-luthier-")
        assert len(secret.removeprefix("sk-luthier-")) == 43, "256 bits in base64"
        assert key.secret_sha256 == hashlib.sha256(secret.encode()).digest()
        assert key.redacted == f"sk-l…{secret[-4:]}"
        row = session.execute(select(ApiKey.__table__)).one()
        assert not any(secret in str(value) for value in row)

    def test_secrets_differ(self, session: Session) -> None:
        assert make_key(session)[1] != make_key(session)[1]


class TestRevoke:
    def test_list_includes_revoked_keys_oldest_first(self, session: Session) -> None:
        assert api_keys.list_all(session) == []
        created = [make_key(session)[0] for _ in range(3)]
        api_keys.revoke(session, created[1].id)
        listed = api_keys.list_all(session)
        assert listed == created
        assert [key.revoked_at is None for key in listed] == [True, False, True]

    def test_only_the_named_key_is_revoked(self, session: Session) -> None:
        (key, secret), (_, other) = make_key(session), make_key(session)
        assert api_keys.revoke(session, key.id) is key
        assert principals.authenticate_project_key(session, secret) is None
        assert principals.authenticate_project_key(session, other) is not None

    def test_revoking_again_keeps_the_first_time(self, session: Session) -> None:
        key, _ = make_key(session)
        api_keys.revoke(session, key.id)
        first = key.revoked_at
        assert first is not None
        api_keys.revoke(session, key.id)
        assert key.revoked_at == first

    def test_unknown_key(self, session: Session) -> None:
        _, secret = make_key(session)
        assert api_keys.revoke(session, "key_unknown") is None
        assert principals.authenticate_project_key(session, secret) is not None


class TestAuthenticate:
    def test_principal_of_a_key(self, session: Session) -> None:
        key, secret = make_key(session)
        who = principals.authenticate_project_key(session, secret)
        assert who is not None
        project = session.get_one(Project, key.project_id)
        assert who == principals.Principal(key.id, project.id, project.organization_id, "acme")

    def test_other_secrets_have_no_principal(self, session: Session) -> None:
        _, secret = make_key(session)
        wrong = ["", "sk-luthier-", secret[:-1], secret + "x", secret.upper(), "a\udc80b", "ключ"]
        assert [principals.authenticate_project_key(session, guess) for guess in wrong] == [
            None
        ] * len(wrong)

    def test_last_use_is_updated_once_a_minute(self, session: Session) -> None:
        key, secret = make_key(session)

        def get_last_used() -> object:
            session.refresh(key)
            return key.last_used_at

        assert get_last_used() is None
        principals.authenticate_project_key(session, secret)
        first = get_last_used()
        assert first is not None
        principals.authenticate_project_key(session, secret)
        assert get_last_used() == first
        long_ago = func.clock_timestamp() - timedelta(seconds=61)
        session.execute(update(ApiKey).values(last_used_at=long_ago))
        earlier = get_last_used()
        principals.authenticate_project_key(session, secret)
        assert get_last_used() != earlier


class TestDefaultProject:
    def test_default_project_is_created_once(self, session: Session) -> None:
        first = bootstrap.ensure_default_project(session, "acme")
        assert bootstrap.ensure_default_project(session, "acme") is first
        assert bootstrap.ensure_default_project(session, "others").id != first.id

    def test_concurrent_processes_agree_on_one_project(self, sessions: SessionMaker) -> None:
        def start(_: int) -> str:
            with transaction(sessions) as session:
                return bootstrap.ensure_default_project(session, "acme").id

        with ThreadPoolExecutor(8) as pool:
            project_ids = set(pool.map(start, range(8)))
        assert len(project_ids) == 1
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(Organization)) == 1


def test_redaction() -> None:
    assert secrets.redact("sk-luthier-0123456789") == "sk-l…6789"
    assert secrets.redact("elevenchars") == "…"
