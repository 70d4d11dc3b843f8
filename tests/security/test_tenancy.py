"""Objects of other projects are invisible: on every route, for every id, byte for byte.

Attacks A1 to A7 and A13: another tenant's id in paths, queries, bodies and cursors, and a key of
one kind where the other is required.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.session import SessionMaker
from app.exports import routes as exports
from tests import http_client
from tests.live_api import Api, client_with_secret
from tests.openapi_routes import IdSlot, Operation, operations
from tests.tenants import Tenant, make_tenant

ADMIN = ("Admin API key",)
PROJECT = ("API key",)
# An admin has access to these in all projects of the organization.
OF_ORGANIZATION = ("admin_key", "audit_log", "model", "permission", "project")
# They differ between any two responses.
OF_REQUEST = {
    "date",
    "openai-processing-ms",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-request-id",
}
# Written by every request, accepted or rejected.
REQUEST_COLUMNS = {"last_used_at"}


@dataclass(frozen=True)
class Tenants:
    """The requesting tenant, and others of the same and of another organization."""

    me: Tenant
    neighbour: Tenant
    other_tenant: Tenant

    def owners(self, operation: Operation, slot: IdSlot) -> list[Tenant]:
        """Tenants whose ids must be unknown there."""
        inside = operation.keys == ADMIN and slot.kind in OF_ORGANIZATION
        nested = slot.kind == "permission" and slot.location != "body"
        if inside and not nested:
            return [self.other_tenant]
        return [self.neighbour, self.other_tenant]


@pytest.fixture
def world(session: Session) -> Tenants:
    return Tenants(
        me=make_tenant(session, "acme", "mine"),
        neighbour=make_tenant(session, "acme", "next door"),
        other_tenant=make_tenant(session, "others", "elsewhere"),
    )


@pytest.fixture(scope="module")
def routes(running_api: Api) -> list[Operation]:
    document = httpx.get(f"{running_api.url}/openapi.json", timeout=60).json()
    return sorted(operations(document), key=_order)


@pytest.fixture
def clients(api: Api, world: Tenants) -> Iterator[Mapping[tuple[str, ...], httpx.Client]]:
    with (
        client_with_secret(api, world.me.secret) as project,
        client_with_secret(api, world.me.admin_secret) as admin,
    ):
        yield {PROJECT: project, ADMIN: admin}


def _order(operation: Operation) -> tuple[int, int]:
    """Destructive operations come last, and children before their parents."""
    destructiveness = ("GET", "POST", "DELETE").index(operation.method)
    return (3 if operation.path.endswith("/archive") else destructiveness, -len(operation.path))


def _probes(routes: list[Operation]) -> Iterator[tuple[Operation, IdSlot]]:
    return ((operation, slot) for operation in routes for slot in operation.id_slots)


def _ids(operation: Operation, slot: IdSlot, mine: Tenant, other: Tenant) -> dict[IdSlot, str]:
    """Ids of a request with another tenant's in one slot, and in those below it in the path."""
    path = [each for each in operation.id_slots if each.location == "path"]
    theirs = path[path.index(slot) :] if slot in path else [slot]
    ids: dict[IdSlot, str] = {}
    for each in operation.id_slots:
        if each.location != "query" and not any(
            _are_alternatives(each, one) for one in (slot, *ids)
        ):
            ids[each] = (other if each in theirs else mine).ids[each.kind]
    return ids | {slot: other.ids[slot.kind]}


def _are_alternatives(first: IdSlot, second: IdSlot) -> bool:
    """Fields of a body that cannot have both.

    A grader or criterion has a model, or graders that have one; a run of an eval a model or a file
    of samples; a response continues another, or a conversation.
    """
    in_bodies = first.location == second.location == "body"
    groups = (
        ("grader.", "testing_criteria.", "data_source."),
        ("previous_response_id", "conversation"),
    )
    return (
        in_bodies
        and first != second
        and any(all(slot.name.startswith(group) for slot in (first, second)) for group in groups)
    )


def _unknown_id_like(id_: str) -> str:
    """An id of the same form that does not exist."""
    return id_[:-4] + "".join("z" if letter != "z" else "y" for letter in id_[-4:])


def _visible_parts(response: httpx.Response, id_: str) -> tuple[int, str, Mapping[str, str]]:
    """Everything a client can see of a response, except for the id it has sent itself."""
    headers = {name: value for name, value in response.headers.items() if name not in OF_REQUEST}
    return response.status_code, response.text.replace(id_, "ID"), headers


@pytest.fixture(autouse=True)
def _no_wait_for_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trainer runs here, which would make the export of an own model."""
    monkeypatch.setattr(exports, "MAX_WAIT_SECONDS", -1.0)


def test_every_parameter_is_classified(routes: list[Operation], world: Tenants) -> None:
    unknown = [
        f"{operation}: {name}" for operation in routes for name in operation.unknown_parameters
    ]
    assert unknown == [], (
        "Are these ids of objects that belong to a tenant? Add them in tests/openapi_routes.py: an "
        "id's name and kind to ID_KINDS, or the list's path to CURSOR_KINDS; any other name to "
        "NON_ID_PARAMETERS."
    )
    missing = {slot.kind for _, slot in _probes(routes)} - world.me.ids.keys()
    assert missing == set(), "make_tenant in tests/tenants.py must make one of each kind"
    assert len(list(_probes(routes))) >= 45, "routes are missing"


def test_a13_each_route_takes_one_kind_of_key(
    routes: list[Operation], world: Tenants, clients: Mapping[tuple[str, ...], httpx.Client]
) -> None:
    """401 without a key, 403 with the other kind of key."""
    wrong = {}
    with httpx.Client(
        base_url=clients[ADMIN].base_url, timeout=http_client.TIMEOUT_SECONDS
    ) as anonymous:
        for operation in routes:
            assert operation.keys in (PROJECT, ADMIN), (
                f"{operation} does not declare its kind of key"
            )
            other = clients[ADMIN if operation.keys == PROJECT else PROJECT]
            ids = {slot: world.me.ids[slot.kind] for slot in operation.id_slots}
            statuses = [operation.request(http, ids).status_code for http in (anonymous, other)]
            if statuses != [401, 403]:
                wrong[str(operation)] = statuses
    assert wrong == {}


def test_a1_to_a7_another_tenants_id_is_like_an_unknown_one(
    routes: list[Operation],
    world: Tenants,
    clients: Mapping[tuple[str, ...], httpx.Client],
    sessions: SessionMaker,
) -> None:
    before = _rows(sessions)
    leaks = {}
    for operation, slot in _probes(routes):
        http = clients[operation.keys]
        for other in world.owners(operation, slot):
            ids = _ids(operation, slot, world.me, other)
            theirs, unknown = ids[slot], _unknown_id_like(ids[slot])
            response = operation.request(http, ids)
            expected = operation.request(http, ids | {slot: unknown})
            # An unknown cursor yields an empty page.
            is_leaked = response.is_success and response.json().get("data") != []
            if is_leaked or _visible_parts(response, theirs) != _visible_parts(expected, unknown):
                leaks[f"{operation}: {slot.location} {slot.name}"] = (response.text, expected.text)
    assert leaks == {}
    assert _rows(sessions) == before, "a rejected request has changed something"


def test_own_ids_are_answered_differently(
    routes: list[Operation], world: Tenants, clients: Mapping[tuple[str, ...], httpx.Client]
) -> None:
    """Otherwise requests rejected for another reason would pass the test above."""
    indistinguishable = {}
    for operation in routes:
        http = clients[operation.keys]
        own = {slot: _ids(operation, slot, world.me, world.me) for slot in operation.id_slots}
        rejected = {
            slot: operation.request(http, ids | {slot: _unknown_id_like(ids[slot])})
            for slot, ids in own.items()
        }
        for slot, ids in own.items():
            response = operation.request(http, ids)
            expected = _visible_parts(rejected[slot], _unknown_id_like(ids[slot]))
            if _visible_parts(response, ids[slot])[:2] == expected[:2]:
                indistinguishable[f"{operation}: {slot.location} {slot.name}"] = (
                    response.status_code,
                    response.text,
                )
            if response.is_success and operation.method == "DELETE":
                break
    assert indistinguishable == {}, (
        "say in tests/openapi_routes.py, in SAMPLE_VALUES, what makes these valid"
    )


def _rows(sessions: SessionMaker) -> Mapping[str, list[Any]]:
    """All rows of the database, except for when keys were last used."""
    with sessions() as session:
        return {
            table.name: sorted(
                repr(row)
                for row in session.execute(
                    table.select().with_only_columns(
                        *(column for column in table.columns if column.name not in REQUEST_COLUMNS)
                    )
                )
            )
            for table in Base.metadata.sorted_tables
        }
