"""Input items of a response in their one form, with ids."""

from collections.abc import Sequence

from app.errors import InvalidRequest
from app.responses.item_ids import input_item_id
from app.wire.items import AnyItem, ItemDict, ItemReference, to_wire


def describe_input(items: Sequence[AnyItem], response_id: str) -> list[ItemDict]:
    """Raises InvalidRequest for a reference to an item that is not known."""
    described = []
    for number, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise InvalidRequest(f"Item with id '{item.id}' not found.", param="input")
        described.append(to_wire(item, input_item_id(item.type, response_id, number)))
    return described
