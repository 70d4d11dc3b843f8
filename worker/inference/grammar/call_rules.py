"""Rules of a grammar for calls, in the form of a model's calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.inference.grammar.alternatives import Unwritable
from worker.inference.grammar.lark import Literals, write_json
from worker.inference.grammar.parameter_rules import ParameterRules
from worker.inference.grammar.pointers import escape
from worker.inference.grammar.references import move_references
from worker.inference.grammar.rule_list import RuleList
from worker.model.rendering.call_format import (
    CallFormat,
    Delimiters,
    NamedCalls,
    ObjectCalls,
    ParameterCalls,
)

# Parameters of each function that may be called, as a JSON schema that was read.
Functions = Mapping[str, Mapping[str, Any]]
# Of a key that has neither the name nor the arguments, such as an id.
OTHER_VALUE = {"type": "string", "maxLength": 32}


class UnwritableFunction(ValueError):
    """A function whose calls have no grammar in a form; its text says what has none."""

    def __init__(self, name: str, reason: Unwritable) -> None:
        super().__init__(str(reason))
        self.name = name


class CallRules:
    """Writes a sequence of calls in Lark's notation, and the rules that it uses.

    Raises UnwritableFunction.
    """

    def __init__(
        self,
        format: CallFormat,
        functions: Functions,
        literals: Literals,
        *,
        max_calls: int,
    ) -> None:
        self._format = format
        self._functions = functions
        self._literals = literals
        self._more = max_calls - 1
        # Calls without quotes have their closing, since it is a part of what ends their values.
        self._is_closed = isinstance(format, ParameterCalls) and not format.quote
        self.rules: Sequence[str] = self._write_rules()

    def write_sequence(self, *, strip: bool) -> str:
        """Write one call, or as many as are allowed and the form allows.

        `strip` leaves out the white space before the first one.
        """
        delimiters: Delimiters = self._format.delimiters
        opening, write = delimiters.opening, self._literals.write
        first = write(opening.lstrip() if strip else opening)
        # Of the closing, only the white space after it.
        end = write(delimiters.closing[len(delimiters.closing.rstrip()) :])
        if not self._more or not opening.strip() or delimiters.between is not None:
            return f"{first} {self.write_opened()} {end}"
        another = f"{write(delimiters.gap + opening.lstrip())} {self.write_opened()}"
        return f"{first} {self.write_opened()} ({another}){{0,{self._more}}} {end}"

    def write_opened(self) -> str:
        """Write what follows an opening, up to the end of the closing."""
        delimiters = self._format.delimiters
        closing = "" if self._is_closed else delimiters.closing.rstrip()
        if delimiters.between is None or not self._more:
            return f"call {self._literals.write(closing)}"
        between = self._literals.write(delimiters.between)
        return f"call ({between} call){{0,{self._more}}} {self._literals.write(closing)}"

    def _write_rules(self) -> Sequence[str]:
        if isinstance(self._format, ObjectCalls):
            schemas = [
                self._object_schema(self._format, name, index)
                for index, name in enumerate(sorted(self._functions))
            ]
            return [f"call: {write_json({'anyOf': schemas})}"]
        if isinstance(self._format, ParameterCalls):
            return self._write_parameters(self._format)
        return self._write_named(self._format)

    def _write_parameters(self, calls: ParameterCalls) -> Sequence[str]:
        rules = RuleList()
        writer = ParameterRules(calls, self._literals, rules)
        options: list[str] = []
        for name in sorted(self._functions):
            try:
                options.append(writer.write(name, self._functions[name]))
            except Unwritable as error:
                raise UnwritableFunction(name, error) from error
        return [f"call: {' | '.join(options)}", *rules.lines]

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
