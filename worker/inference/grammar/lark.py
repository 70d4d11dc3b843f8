"""Pieces of grammars in Lark's notation, as llguidance reads it."""

import json
from collections.abc import Mapping
from typing import Any

from worker.inference.grammar.json_schema import WHITESPACE

NOTHING = '""'


class Literals:
    """Writes texts in which noncharacters stand for special tokens."""

    def __init__(self, special: Mapping[int, str]) -> None:
        self._ids = {char: id for id, char in special.items()}

    def write(self, text: str) -> str:
        """Write a text; special tokens in it by their ids."""
        parts: list[str] = []
        run = ""
        for char in text:
            if char not in self._ids:
                run += char
                continue
            parts += [_quote(run), f"<[{self._ids[char]}]>"]
            run = ""
        return " ".join(filter(None, [*parts, _quote(run)])) or NOTHING

    def has_special(self, text: str) -> bool:
        return not self._ids.keys().isdisjoint(text)

    def split(self, text: str) -> tuple[str, str]:
        """Split a text into what is before its first special token, and the rest."""
        size = next((place for place, char in enumerate(text) if char in self._ids), len(text))
        return text[:size], text[size:]

    def text_up_to(self, end: str, name: str) -> tuple[str, str]:
        """Write any text up to the first `end`, and `end`: a sequence, and the rule that it uses.

        `name` is that of the rule.
        """
        suffix, rest = self.split(end)
        options = f"[suffix={_quote(suffix)}]" if suffix else ""
        return f"{name} {self.write(rest)}", f"{name}{options}: /(?s:.*)/"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def write_json(schema: Mapping[str, Any]) -> str:
    """Write JSON of a schema that was read by the rules for schemas."""
    options = {"whitespace_pattern": WHITESPACE, "lenient": True}
    return f"%json {json.dumps({**schema, 'x-guidance': options})}"
