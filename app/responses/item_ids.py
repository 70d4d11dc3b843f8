"""Ids of the items of a response: made from its own id, so that an item's id names its response."""

import re

from app.ids import ITEM_PREFIXES

# Input items are numbered from 0 on, and there are fewer of them.
FIRST_OUTPUT_NUMBER = 0x1000
ITEM_ID = re.compile(rf"(?:{'|'.join(ITEM_PREFIXES.values())})_([0-9a-f]{{48}})[0-9a-f]{{4}}")


def input_item_id(kind: str, response_id: str, number: int) -> str:
    return f"{ITEM_PREFIXES[kind]}_{response_id.removeprefix('resp_')}{number:04x}"


def output_item_id(kind: str, response_id: str, number: int) -> str:
    return input_item_id(kind, response_id, FIRST_OUTPUT_NUMBER + number)


def response_of(item_id: str) -> str | None:
    """The id of the response that an item belongs to."""
    match = ITEM_ID.fullmatch(item_id)
    return None if match is None else f"resp_{match[1]}"
