"""Roles of an identity provider's users."""

from typing import Any

import pytest

from app.auth import oidc_roles
from app.db.session import SessionMaker, transaction
from app.settings import Settings
from tests.live_api import create_account


@pytest.mark.parametrize(
    ("claims", "name", "values"),
    [
        ({"groups": ["a", "b"]}, "groups", ["a", "b"]),
        ({"hd": "example.com"}, "hd", ["example.com"]),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ["a"]),
        ({"https://example.com/roles": ["a"]}, "https://example.com/roles", ["a"]),
        ({"email": "jane@example.com", "email_verified": True}, "email", ["jane@example.com"]),
        ({"email": "jane@example.com"}, "email", []),
        ({"email": "jane@example.com", "email_verified": "true"}, "email", []),
        ({"groups": [1, None, {"a": 1}, ["b"]]}, "groups", []),
        ({"groups": {"a": 1}}, "groups", []),
        ({"realm_access": "roles"}, "realm_access.roles", []),
        ({}, "groups", []),
    ],
    ids=str,
)
def test_values_of_a_claim(claims: dict[str, Any], name: str, values: list[str]) -> None:
    assert oidc_roles.read_values(claims, name) == values


def test_projects_by_id_and_by_name_of_the_own_organization(sessions: SessionMaker) -> None:
    account = create_account(sessions, "acme")
    other = create_account(sessions, "others").principal.project_id
    own = account.principal.project_id

    def find(role: str) -> tuple[str, ...]:
        settings = Settings(organization_slug="acme", oidc_roles={"ml": (role,)})
        claims = {"sub": "u-1", "groups": ["ml"]}
        with transaction(sessions) as session:
            grant = oidc_roles.find_grant(session, settings, claims)
        return () if grant is None else grant.project_ids

    assert find("project:default") == (own,)
    assert find(f"project:{own}") == (own,)
    assert find("project:*") == (own,)
    assert find(f"project:{other}") == ()


def test_the_subject_cannot_be_chosen_by_the_user() -> None:
    """The name may be; the provider's id stays in it."""
    claims = {"sub": "u-1", "preferred_username": "admin (u-2)" * 100}
    assert oidc_roles.describe_user(claims).endswith(" (u-1)")
