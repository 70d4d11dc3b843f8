"""Rules for values of which texts are in quotes, such as Gemma's and LFM2's, or JSON in them."""

import json
from collections.abc import Callable
from typing import Any

from worker.inference.grammar.alternatives import Schema, Unwritable, split
from worker.inference.grammar.lark import NOTHING, Literals, write_json
from worker.inference.grammar.member_rules import (
    Member,
    MemberDelimiters,
    write_free_members,
    write_members,
)
from worker.inference.grammar.object_rules import list_properties, sort_names
from worker.inference.grammar.references import take_part
from worker.inference.grammar.rule_list import RuleList
from worker.inference.grammar.text_rules import is_free, write_length, write_text
from worker.model.rendering.call_format import NestedForm, ParameterCalls

# Characters that the reader of quoted texts knows behind a backslash.
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
FREE_KEY = "/[A-Za-z_][A-Za-z0-9_-]{0,63}/"
CONTAINERS = ("array", "object")


class QuotedValues:
    """Writes values in their quotes."""

    def __init__(
        self, calls: ParameterCalls, literals: Literals, rules: RuleList, root: Schema
    ) -> None:
        self._calls = calls
        self._literals = literals
        self._rules = rules
        self._root = root
        self._words = dict(zip((True, False, None), calls.words, strict=True))
        self._is_token = literals.has_special(calls.quote)
        # Names of rules, by the reference or the kind of value that they are for.
        self._names: dict[str, str] = {}

    def write(self, schema: Any, _types: set[str]) -> str:
        """Write a value. Raises Unwritable."""
        if not schema or schema is True:
            return self.write_any()
        reference = schema.get("$ref")
        if isinstance(reference, str) and self._calls.nested is NestedForm.ALIKE:
            return self._share(reference, lambda: self._write(schema))
        return self._rules.add(self._write(schema))

    def write_any(self) -> str:
        """Write any value."""
        return self._share("any", lambda: self._write({}))

    def _share(self, key: str, write: Callable[[], str]) -> str:
        """Write a rule once: it may be a part of itself."""
        if key not in self._names:
            self._names[key] = self._rules.reserve()
            self._rules.define(self._names[key], write())
        return self._names[key]

    def _write(self, schema: Any) -> str:
        alternatives = split(schema, self._root)
        options = [self._write_one(each) for each in alternatives if not self._is_json(each)]
        as_json = [each for each in alternatives if self._is_json(each)]
        if as_json:
            part = as_json[0] if len(as_json) == 1 else {"anyOf": as_json}
            options.append(self._rules.add(write_json(take_part(part, self._root))))
        if not options:
            raise Unwritable("a value that nothing can be")
        return " | ".join(options)

    def _is_json(self, schema: Schema) -> bool:
        """Check for values that this form writes as JSON does."""
        if "const" in schema:
            value = schema["const"]
            is_nested = isinstance(value, list | dict) and self._calls.nested is NestedForm.JSON
            return is_nested or (isinstance(value, int | float) and not isinstance(value, bool))
        is_nested = schema["type"] in CONTAINERS and self._calls.nested is NestedForm.JSON
        return is_nested or schema["type"] in ("integer", "number")

    def _write_one(self, schema: Schema) -> str:
        if "const" in schema:
            return self._write_const(schema["const"])
        match schema["type"]:
            case "string":
                return self._write_text(schema)
            case "boolean":
                return " | ".join(self._literals.write(self._words[each]) for each in (True, False))
            case "null":
                return self._literals.write(self._words[None])
            case "array":
                return self._write_list(schema)
        return self._write_object(schema)

    def _write_text(self, schema: Schema) -> str:
        quote = self._literals.write(self._calls.quote)
        if self._is_token:
            return f"{quote} {self._rules.add_terminal(write_text(schema))} {quote}"
        mark = self._calls.quote
        plain = rf"[^{mark}\\\n\r\x{{FDD0}}-\x{{FDEF}}]"
        if is_free(schema):
            inner = rf"/(?:{plain}|\\[{mark}\\nr]){write_length(schema)}/"
        else:
            inner = f"({write_text(schema)} & /{plain}*/)"
        return self._rules.add_terminal(f"{quote} {inner} {quote}")

    def _write_const(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return self._literals.write(self._words[value])
        if isinstance(value, str):
            return self._write_literal(value)
        if isinstance(value, int | float):
            return self._literals.write(json.dumps(value))
        separator = f" {self._literals.write(self._calls.next)} "
        if isinstance(value, list):
            return f'"[" {separator.join(map(self._write_const, value)) or NOTHING} "]"'
        members = [
            f"{self._literals.write(key + self._calls.key_end)} {self._write_const(value[key])}"
            for key in sort_names(value, self._calls)
        ]
        return f'"{{" {separator.join(members) or NOTHING} "}}"'

    def _write_literal(self, text: str) -> str:
        if self._literals.has_special(text):
            raise Unwritable("a text with a noncharacter of Unicode")
        if not self._is_token:
            escapes = {**ESCAPES, self._calls.quote: f"\\{self._calls.quote}"}
            text = "".join(escapes.get(char, char) for char in text)
        return self._literals.write(f"{self._calls.quote}{text}{self._calls.quote}")

    def _write_list(self, schema: Schema) -> str:
        prefix = schema.get("prefixItems", [])
        items = schema.get("items", True)
        if isinstance(items, list):
            prefix, items = items, schema.get("additionalItems", True)
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        next = self._literals.write(self._calls.next)
        written = [self.write(item, set()) for item in prefix[:most]]
        # What may follow is left out where it would need more than one form.
        least, most = max(least - len(written), 0), None if most is None else most - len(written)
        if items is False or most == 0:
            if least:
                raise Unwritable("lists that are shorter than their minItems")
            return f'"[" {f" {next} ".join(written) or NOTHING} "]"'
        item = self.write(items, set())
        if written:
            return f'"[" {f" {next} ".join(written)} ({next} {item}){_count(least, most)} "]"'
        rest = f"({next} {item}){_count(max(least - 1, 0), None if most is None else most - 1)}"
        some = f"{item} {rest}"
        return f'"[" {some} "]"' if least else f'"[" ({some})? "]"'

    def _write_object(self, schema: Schema) -> str:
        delimiters = MemberDelimiters(
            '"{"', self._literals.write(self._calls.next), '"}"', '"{" "}"'
        )
        properties = schema.get("properties")
        if not properties and schema.get("additionalProperties") is not False:
            key = self._rules.add(f"{FREE_KEY} {self._literals.write(self._calls.key_end)}")
            value = self.write(schema.get("additionalProperties", True), set())
            return write_free_members(f"{key} {value}", delimiters)
        members = [
            Member(self._write_pair(each.name, each.schema), each.is_required)
            for each in list_properties(schema, self._calls)
        ]
        return write_members(members, delimiters, self._rules)

    def _write_pair(self, name: str, schema: Any) -> str:
        key = self._literals.write(name + self._calls.key_end)
        return self._rules.add(f"{key} {self.write(schema, set())}")


def _count(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"
