"""What users who have logged in may do, and under which name it is recorded."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.auth import console_sessions
from app.db.session import SessionMaker, transaction
from app.db.tables import AuditActor, AuditLog, ConsoleSession
from app.http.console_cookie import COOKIE_NAME
from app.security_log import SecurityEvent, SecurityLog
from tests.app.console.oidc.conftest import Client
from tests.live_api import Account


def test_a_user_switches_to_projects_of_theirs_only(
    client: Client, research: str, account: Account
) -> None:
    client.log_in()
    secret = client.cookies[COOKIE_NAME]
    token = console_sessions.compute_csrf_token(secret)

    def switch(project_id: str, csrf_token: str) -> int:
        return httpx.post(
            f"{client.console}/console/projects",
            data={"project_id": project_id, "csrf_token": csrf_token},
            cookies=client.cookies,
        ).status_code

    own = account.principal.project_id
    assert switch(research, token) == 403
    assert switch(own, "") == 403
    assert switch(own, token) == 303
    # Pages of the project before can do nothing to the other one.
    assert client.get("/console/").status_code == 303


def test_changes_are_recorded_with_the_users_name_and_end_with_all_sessions(
    client: Client, sessions: SessionMaker, account: Account
) -> None:
    client.provider.claims["groups"] = ["ops"]
    client.log_in()
    token = console_sessions.compute_csrf_token(client.cookies[COOKIE_NAME])
    form = {"name": "night", "csrf_token": token}
    url = f"{client.console}/console/settings/projects"
    assert httpx.post(url, data=form, cookies=client.cookies).status_code == 303
    with transaction(sessions) as session:
        entry = session.scalars(select(AuditLog)).one()
        assert (entry.actor, entry.actor_id) == (AuditActor.SESSION, "jane (u-1)")
        console_sessions.revoke_all(session, account.principal.organization_id)
    assert client.get("/console/").status_code == 303


def test_a_name_with_characters_that_the_database_refuses(
    client: Client, sessions: SessionMaker
) -> None:
    client.provider.claims["preferred_username"] = "ja\0ne\ud800\u202e"
    assert client.log_in().status_code == 200
    with transaction(sessions) as session:
        assert session.scalars(select(ConsoleSession.subject)).one() == "jane (u-1)"


@pytest.mark.parametrize("path", ["end-all", "csess_1/end"])
def test_ending_sessions_is_recorded_for_an_admin_who_has_a_project_too(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    client.provider.claims["groups"] = ["ops"]
    client.log_in()
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(SecurityLog, "_write", lambda _, fields: lines.append(fields))
    token = console_sessions.compute_csrf_token(client.cookies[COOKIE_NAME])
    url = f"{client.console}/console/settings/sessions/{path}"
    httpx.post(url, data={"csrf_token": token}, cookies=client.cookies)
    line = next(line for line in lines if line["event"] == SecurityEvent.ADMIN_REQUEST)
    assert line["user"] == "jane (u-1)"
    assert line["path"].endswith(path)
