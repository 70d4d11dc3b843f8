"""Context of a response: the items of the responses before it, and items that it refers to."""

from collections.abc import Iterable, Mapping, Sequence

import orjson
from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session, undefer

from app.db.tables import UNFINISHED_RESPONSE_STATES, StoredResponse
from app.errors import InvalidRequest
from app.responses import service
from app.responses.item_ids import input_item_id, response_of
from app.settings import Settings
from app.wire.items import MAX_ITEMS, AnyItem, ItemDict, ItemReference, to_wire

TEXTS = (StoredResponse.input, StoredResponse.body)
PREVIOUS = "previous_response_id"


def list_previous(
    session: Session, settings: Settings, project_id: str, previous_id: str
) -> list[ItemDict]:
    """List the items of a response and of all before it, oldest first. Raises InvalidRequest."""
    ids = _find_chain(session, settings, project_id, previous_id)
    rows = _load(session, project_id, ids)
    return [item for id_ in reversed(ids) for item in _items_of(rows[id_])]


def _find_chain(
    session: Session, settings: Settings, project_id: str, previous_id: str
) -> list[str]:
    """The ids of a chain, newest first, in one query."""
    columns = (
        StoredResponse.id,
        StoredResponse.previous_id,
        StoredResponse.state,
        StoredResponse.bytes,
    )
    of_project = StoredResponse.project_id == project_id
    chain = (
        select(*columns, literal(1).label("place"))
        .where(of_project, StoredResponse.id == previous_id)
        .cte("chain", recursive=True)
    )
    earlier = (
        select(*columns, chain.c.place + 1)
        .join(chain, StoredResponse.id == chain.c.previous_id)
        .where(of_project, chain.c.place < MAX_ITEMS)
    )
    chain = chain.union_all(earlier)
    rows = session.execute(select(chain).order_by(chain.c.place)).all()
    if not rows:
        raise _previous_not_found(previous_id)
    if rows[0].state in UNFINISHED_RESPONSE_STATES:
        raise InvalidRequest(
            f"Response with id '{previous_id}' is not finished yet. Wait until it is.",
            param=PREVIOUS,
        )
    _check_bytes(settings, sum(row.bytes for row in rows), num_responses=len(rows))
    if rows[-1].previous_id is not None:
        # Deleted or expired: an answer without it would not be what was asked.
        raise _previous_not_found(rows[-1].previous_id)
    return [row.id for row in rows]


def describe_input(
    session: Session,
    settings: Settings,
    project_id: str,
    items: Sequence[AnyItem],
    response_id: str,
) -> list[ItemDict]:
    """Give items their one form and ids, and find those that are referred to.

    Raises InvalidRequest for a reference to an item that is not known.
    """
    references = [item.id for item in items if isinstance(item, ItemReference)]
    found = _find_items(session, settings, project_id, references) if references else {}
    return describe_items(items, found, response_id)


def describe_items(
    items: Sequence[AnyItem], found: Mapping[str, ItemDict], response_id: str
) -> list[ItemDict]:
    described = []
    for number, item in enumerate(items):
        if not isinstance(item, ItemReference):
            described.append(to_wire(item, input_item_id(item.type, response_id, number)))
        elif item.id in found:
            described.append(found[item.id])
        else:
            raise InvalidRequest(
                f"Item with id '{item.id}' not found. Items are kept with their responses, unless "
                "these were created with 'store': false.",
                param="input",
            )
    return described


def _find_items(
    session: Session, settings: Settings, project_id: str, ids: Iterable[str]
) -> dict[str, ItemDict]:
    wanted = set(ids)
    responses = {response for id_ in wanted if (response := response_of(id_)) is not None}
    of_these = service.select_of(project_id).where(StoredResponse.id.in_(responses))
    total = session.scalar(of_these.with_only_columns(func.sum(StoredResponse.bytes)))
    _check_bytes(settings, int(total or 0), num_responses=len(responses), param="input")
    rows = _load(session, project_id, responses)
    items = (item for row in rows.values() for item in _items_of(row))
    return {item["id"]: item for item in items if item["id"] in wanted}


def _check_bytes(
    settings: Settings, total: int, *, num_responses: int, param: str = PREVIOUS
) -> None:
    """Raise InvalidRequest for more than a request that sends it all may have."""
    if num_responses >= MAX_ITEMS or total > settings.max_body_bytes:
        raise InvalidRequest(
            f"The earlier responses have {total} bytes in {num_responses} responses, and at most "
            f"{settings.max_body_bytes} bytes and {MAX_ITEMS - 1} responses are read. Begin anew, "
            "with what is needed of them in 'input'.",
            param=param,
            code="context_length_exceeded",
        )


def _load(session: Session, project_id: str, ids: Iterable[str]) -> dict[str, StoredResponse]:
    statement = service.select_of(project_id).where(StoredResponse.id.in_(list(ids)))
    rows = session.scalars(statement.options(*(undefer(text) for text in TEXTS))).all()
    return {row.id: row for row in rows}


def _items_of(row: StoredResponse) -> list[ItemDict]:
    output: list[ItemDict] = orjson.loads(row.body)["output"]
    return [*orjson.loads(row.input), *output]


def check_number(items: Sequence[ItemDict]) -> None:
    """Raise InvalidRequest if a context has more items than a chat may have."""
    if len(items) > MAX_ITEMS:
        raise InvalidRequest(
            f"The context has {len(items)} items, those of earlier responses included, and at most "
            f"{MAX_ITEMS} are read. Begin anew, with what is needed of them in 'input'.",
            param="input",
            code="context_length_exceeded",
        )


def check_size(settings: Settings, items: Sequence[ItemDict]) -> None:
    """Raise InvalidRequest if a context has more items or bytes than a request may have.

    An item counts with each reference to it: the engine's request has a copy for each.
    """
    check_number(items)
    # Those that are referred to several times are one object.
    distinct = {id(item): item for item in items}
    sizes = {key: len(orjson.dumps(item)) for key, item in distinct.items()}
    total = sum(sizes[id(item)] for item in items)
    if total > settings.max_body_bytes:
        raise InvalidRequest(
            f"The context has {total} bytes, those of earlier items and of each reference to one "
            f"included, and at most {settings.max_body_bytes} are read. Begin anew, with what is "
            "needed of them in 'input'.",
            param="input",
            code="context_length_exceeded",
        )


def _previous_not_found(response_id: str) -> InvalidRequest:
    # OpenAI's status and sentence, which clients match on.
    return InvalidRequest(
        f"Previous response with id '{response_id}' not found.",
        param=PREVIOUS,
        code="previous_response_not_found",
    )
