"""Rules for values without quotes, such as Qwen-Coder's and GLM's: texts as they are, or JSON."""

import json
from collections.abc import Sequence
from typing import Any

from worker.inference.answers.values import to_json
from worker.inference.grammar.alternatives import Schema, Unwritable, split
from worker.inference.grammar.lark import Literals, write_json
from worker.inference.grammar.references import take_part
from worker.inference.grammar.rule_list import RuleList
from worker.inference.grammar.text_rules import ANY_TEXT, not_containing, write_text
from worker.model.rendering.call_format import ParameterCalls, squeeze

_SPACE = r"[ \t\n\r]*"
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_CONTAINER = rf"{_SPACE}[\[{{](?s:.*)"
# Texts that are read as values of these types, if a value may have them.
READ_AS = {
    "null": rf"{_SPACE}null{_SPACE}|None",
    "boolean": rf"{_SPACE}(?:true|false){_SPACE}|True|False",
    "integer": rf"{_SPACE}-?(?:0|[1-9][0-9]*){_SPACE}",
    "number": f"{_SPACE}{_NUMBER}{_SPACE}",
    "array": _CONTAINER,
    "object": _CONTAINER,
}
# Numbers beside texts are a part of their lexeme.
NUMBERS = {"integer": "/-?(?:0|[1-9][0-9]*)/", "number": f"/{_NUMBER}/"}
CONTAINERS = ("array", "object")


class RawValues:
    """Writes values and the text that ends them. No text contains this end.

    `end` is that text. Alternatives that are texts, numbers or words are one lexeme with it, since
    a longer text may begin with each.
    """

    def __init__(
        self, calls: ParameterCalls, end: str, literals: Literals, rules: RuleList, root: Schema
    ) -> None:
        self._end = end
        self._literals = literals
        self._rules = rules
        self._root = root
        self._words = dict(zip((True, False, None), calls.words, strict=True))
        # A part of the end that also begins it may be the beginning of the end that follows.
        self._not_end = not_containing(_without_border(squeeze(end)))

    def write(self, schema: Any, types: set[str]) -> str:
        """Write a value that is read by its types; none of them means any. Raises Unwritable."""
        if not types and not schema:
            return self.write_any()
        alternatives = split(schema, self._root)
        texts = [each for each in alternatives if each.get("type") == "string"]
        words = [
            self._write_const(each["const"], types) for each in alternatives if "const" in each
        ]
        lexemes = [self._write_text(each, types) for each in texts]
        lexemes += [word for word in words if word is not None]
        lexemes += [
            self._quote(self._words[value])
            for each in alternatives
            for value in {"boolean": (True, False), "null": (None,)}.get(each.get("type", ""), ())
        ]
        others = [each for each in alternatives if each.get("type") in (*NUMBERS, *CONTAINERS)]
        others += [each for each in alternatives if isinstance(each.get("const"), list | dict)]
        if texts:
            lexemes += [self._write_number(each) for each in others if each.get("type") in NUMBERS]
            others = [each for each in others if each.get("type") not in NUMBERS]
        if not lexemes and not others:
            raise Unwritable("a value that would be read as another")
        return self._join(lexemes, others)

    def write_any(self) -> str:
        """Write any value: a text, which may be one of any type, or an object or list in JSON."""
        text = f"{ANY_TEXT} & {self._not_end} & ~/{_CONTAINER}/"
        return self._join([text], [{"type": list(CONTAINERS)}])

    def _join(self, lexemes: Sequence[str], others: Sequence[Schema]) -> str:
        options = []
        if lexemes:
            choice = " | ".join(f"({lexeme})" for lexeme in lexemes)
            options.append(self._rules.add_terminal(f"({choice}) {self._quote(self._end)}"))
        if others:
            schema = others[0] if len(others) == 1 else {"anyOf": list(others)}
            json_rule = self._rules.add(write_json(take_part(schema, self._root)))
            options.append(f"{json_rule} {self._literals.write(self._end)}")
        return self._rules.add(" | ".join(options))

    def _write_text(self, schema: Schema, types: set[str]) -> str:
        read_as_others = {READ_AS[name] for name in types or READ_AS if name in READ_AS}
        excluded = [f"~/{pattern}/" for pattern in sorted(read_as_others)]
        return " & ".join([write_text(schema), self._not_end, *excluded])

    def _write_number(self, schema: Schema) -> str:
        bounds = sorted(schema.keys() - {"type"})
        if bounds:
            raise Unwritable(f"'{bounds[0]}' of numbers beside texts")
        return NUMBERS[schema["type"]]

    def _write_const(self, value: Any, types: set[str]) -> str | None:
        """Write one value; None if it would be read as another, or is an object or a list."""
        if isinstance(value, list | dict):
            return None
        is_word = value is None or isinstance(value, bool)
        text = value if isinstance(value, str) else self._words[value] if is_word else None
        text = json.dumps(value) if text is None else text
        is_read = json.loads(to_json(text, types)) == value and squeeze(self._end) not in squeeze(
            text + self._end[:-1]
        )
        return self._quote(text) if is_read else None

    def _quote(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False)


def _without_border(text: str) -> str:
    """Cut a text before the longest part of its end that it also begins with."""
    sizes = range(len(text) - 1, 0, -1)
    border = next((size for size in sizes if text.startswith(text[-size:])), 0)
    return text[: len(text) - border]
