"""Rules of a grammar for calls, in the form of a model's calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.inference.grammar.lark import Literals, write_json
from worker.inference.grammar.references import escape, move_references
from worker.model.rendering.call_format import Delimiters, NamedCalls, ObjectCalls

# Parameters of each function that may be called, as a JSON schema that was read.
Functions = Mapping[str, Mapping[str, Any]]
# Of a key that has neither the name nor the arguments, such as an id.
OTHER_VALUE = {"type": "string", "maxLength": 32}


class CallRules:
    """Writes a sequence of calls in Lark's notation, and the rules that it uses."""

    def __init__(
        self,
        format: ObjectCalls | NamedCalls,
        functions: Functions,
        literals: Literals,
        *,
        max_calls: int,
    ) -> None:
        self._format = format
        self._functions = functions
        self._literals = literals
        self._max_calls = max_calls

    def write_sequence(self, *, strip: bool) -> str:
        """Write one call, or as many as are allowed and the form allows.

        `strip` leaves out the white space before the first one.
        """
        delimiters: Delimiters = self._format.delimiters
        opening, closing = map(self._literals.write, (delimiters.opening, delimiters.closing))
        first = self._literals.write(delimiters.opening.lstrip()) if strip else opening
        more = self._max_calls - 1
        if not more or not delimiters.opening.strip():
            return f"{first} call {closing}"
        if delimiters.between is None:
            return f'{first} call {closing} ("\\n" {opening} call {closing}){{0,{more}}}'
        between = self._literals.write(delimiters.between)
        return f"{first} call ({between} call){{0,{more}}} {closing}"

    def write_rules(self) -> Sequence[str]:
        if isinstance(self._format, ObjectCalls):
            schemas = [
                self._object_schema(self._format, name, index)
                for index, name in enumerate(sorted(self._functions))
            ]
            return [f"call: {write_json({'anyOf': schemas})}"]
        return self._write_named(self._format)

    def _object_schema(self, calls: ObjectCalls, name: str, index: int) -> dict[str, Any]:
        """Make the schema of a call, which is one of those in `anyOf`."""
        place = f"#/anyOf/{index}/properties/{escape(calls.arguments_key)}"
        known: dict[str, Any] = {
            calls.name_key: {"const": name},
            calls.arguments_key: move_references(self._functions[name], place),
        }
        return {
            "type": "object",
            "properties": {key: known.get(key, OTHER_VALUE) for key in calls.keys},
            "required": list(calls.keys),
            "additionalProperties": False,
        }

    def _write_named(self, calls: NamedCalls) -> Sequence[str]:
        middle = self._literals.write(calls.middles[0])
        names = sorted(self._functions)
        options = [
            f"{self._literals.write(name)} {middle} arguments{index}"
            for index, name in enumerate(names)
        ]
        return [
            f"call: {' | '.join(options)}",
            *(
                f"arguments{index}: {write_json(self._functions[name])}"
                for index, name in enumerate(names)
            ),
        ]
