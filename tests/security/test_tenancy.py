"""What belongs to another project is not there: on every route, for every id, to the byte.

Attacks A1 to A7 and A13: another's id in paths, queries, bodies and cursors, and a key of one kind
where the other is needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.session import SessionMaker
from tests import http_client
from tests.live_api import Api, client_with_secret
from tests.openapi_routes import IdSlot, Operation, operations
from tests.tenants import Tenant, make_tenant

ADMIN = ("Admin API key",)
PROJECT = ("API key",)
# An admin of the organization reaches these in all of its projects.
OF_ORGANIZATION = ("admin_key", "model", "permission", "project")
# They differ between any two answers.
OF_REQUEST = {
    "date",
    "openai-processing-ms",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-request-id",
}
# What is written about the one who asks, refused or not.
OF_ASKING = {"last_used_at"}


@dataclass(frozen=True)
class World:
    """Who asks, and the others: of the same organization, and of another."""

    me: Tenant
    neighbour: Tenant
    stranger: Tenant

    def owners(self, operation: Operation, slot: IdSlot) -> list[Tenant]:
        """Whose ids must not be seen there."""
        inside = operation.keys == ADMIN and slot.kind in OF_ORGANIZATION
        nested = slot.kind == "permission" and slot.location != "body"
        return [self.stranger] if inside and not nested else [self.neighbour, self.stranger]


@pytest.fixture
def world(session: Session) -> World:
    return World(
        me=make_tenant(session, "acme", "mine"),
        neighbour=make_tenant(session, "acme", "next door"),
        stranger=make_tenant(session, "others", "elsewhere"),
    )


@pytest.fixture(scope="module")
def routes(api: Api) -> list[Operation]:
    document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
    return sorted(operations(document), key=_order)


@pytest.fixture
def clients(api: Api, world: World) -> Iterator[Mapping[tuple[str, ...], httpx.Client]]:
    with (
        client_with_secret(api, world.me.secret) as project,
        client_with_secret(api, world.me.admin_secret) as admin,
    ):
        yield {PROJECT: project, ADMIN: admin}


def _order(operation: Operation) -> tuple[int, int]:
    """What destroys comes last, and children go before their parents."""
    gentle = ("GET", "POST", "DELETE").index(operation.method)
    return (3 if operation.path.endswith("/archive") else gentle, -len(operation.path))


def _probes(routes: list[Operation]) -> Iterator[tuple[Operation, IdSlot]]:
    return ((operation, slot) for operation in routes for slot in operation.id_slots)


def _ids(operation: Operation, slot: IdSlot, mine: Tenant, other: Tenant) -> dict[IdSlot, str]:
    """A request with another's id in one slot. What is below it in the path is that one's too."""
    path = [one for one in operation.id_slots if one.location == "path"]
    theirs = path[path.index(slot) :] if slot in path else [slot]
    wanted = {
        one: (other if one in theirs else mine).ids[one.kind]
        for one in operation.id_slots
        if one.location != "query" and not _stand_in_for_each_other(one, slot)
    }
    return wanted | {slot: other.ids[slot.kind]}


def _stand_in_for_each_other(one: IdSlot, slot: IdSlot) -> bool:
    """A grader has a model, or graders that have one: a body with both is none."""
    in_bodies = one.location == slot.location == "body"
    return in_bodies and one != slot and one.name.split(".")[0] == slot.name.split(".")[0]


def _like(id_: str) -> str:
    """An id of the same form that nobody has."""
    return id_[:-4] + "".join("z" if letter != "z" else "y" for letter in id_[-4:])


def _seen(answer: httpx.Response, id_: str) -> tuple[int, str, Mapping[str, str]]:
    """All that a client can tell an answer by, but for the id it has sent itself."""
    headers = {name: value for name, value in answer.headers.items() if name not in OF_REQUEST}
    return answer.status_code, answer.text.replace(id_, "ID"), headers


def test_the_walk_knows_every_parameter(routes: list[Operation], world: World) -> None:
    unknown = [
        f"{operation}: {name}" for operation in routes for name in operation.unknown_parameters
    ]
    assert unknown == [], (
        "Do these hold ids of what belongs to somebody? Say so in tests/openapi_routes.py: an "
        "id's name and kind in IDS, or the list's path in CURSORS; any other name in PLAIN."
    )
    missing = {slot.kind for _, slot in _probes(routes)} - world.me.ids.keys()
    assert missing == set(), "make_party in tests/tenants.py must make one of each kind"
    assert len(list(_probes(routes))) >= 45, "the walk has lost routes on its way"


def test_a13_each_route_is_for_one_kind_of_key(
    routes: list[Operation], world: World, clients: Mapping[tuple[str, ...], httpx.Client]
) -> None:
    """Without any key it is 401, with one of the other kind 403."""
    wrong = {}
    with httpx.Client(base_url=clients[ADMIN].base_url, timeout=http_client.SECONDS) as nobody:
        for operation in routes:
            assert operation.keys in (PROJECT, ADMIN), f"{operation} does not say whom it is for"
            other = clients[ADMIN if operation.keys == PROJECT else PROJECT]
            ids = {slot: world.me.ids[slot.kind] for slot in operation.id_slots}
            statuses = [operation.request(http, ids).status_code for http in (nobody, other)]
            if statuses != [401, 403]:
                wrong[str(operation)] = statuses
    assert wrong == {}


def test_a1_to_a7_anothers_id_is_answered_as_an_unknown_one(
    routes: list[Operation],
    world: World,
    clients: Mapping[tuple[str, ...], httpx.Client],
    sessions: SessionMaker,
) -> None:
    before = _rows(sessions)
    told = {}
    for operation, slot in _probes(routes):
        http = clients[operation.keys]
        for other in world.owners(operation, slot):
            ids = _ids(operation, slot, world.me, other)
            theirs, unknown = ids[slot], _like(ids[slot])
            answer = operation.request(http, ids)
            expected = operation.request(http, ids | {slot: unknown})
            # Behind a cursor that is not there lies nothing.
            given = answer.is_success and answer.json().get("data") != []
            if given or _seen(answer, theirs) != _seen(expected, unknown):
                told[f"{operation}: {slot.location} {slot.name}"] = (answer.text, expected.text)
    assert told == {}
    assert _rows(sessions) == before, "a refused request has changed something"


def test_an_own_id_is_answered_otherwise(
    routes: list[Operation], world: World, clients: Mapping[tuple[str, ...], httpx.Client]
) -> None:
    """Without this, requests that are refused for something else would pass the test above."""
    blind = {}
    for operation in routes:
        http = clients[operation.keys]
        own = {slot: _ids(operation, slot, world.me, world.me) for slot in operation.id_slots}
        refused = {
            slot: operation.request(http, ids | {slot: _like(ids[slot])})
            for slot, ids in own.items()
        }
        for slot, ids in own.items():
            answer = operation.request(http, ids)
            expected = _seen(refused[slot], _like(ids[slot]))
            if _seen(answer, ids[slot])[:2] == expected[:2]:
                blind[f"{operation}: {slot.location} {slot.name}"] = (
                    answer.status_code,
                    answer.text,
                )
            if answer.is_success and operation.method == "DELETE":
                break
    assert blind == {}, "say in tests/openapi_routes.py, in SAMPLES, what makes these valid"


def _rows(sessions: SessionMaker) -> Mapping[str, list[Any]]:
    """All that the database holds, but for when keys were last used."""
    with sessions() as session:
        return {
            table.name: sorted(
                repr(row)
                for row in session.execute(
                    table.select().with_only_columns(
                        *(column for column in table.columns if column.name not in OF_ASKING)
                    )
                )
            )
            for table in Base.metadata.sorted_tables
        }
