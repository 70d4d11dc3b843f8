"""Rules of a grammar for calls whose arguments are between delimiters."""

from collections.abc import Mapping
from typing import Any

from worker.inference.answers.argument_types import find_types, resolve_object
from worker.inference.grammar.alternatives import Unwritable
from worker.inference.grammar.lark import Literals
from worker.inference.grammar.member_rules import (
    Member,
    MemberDelimiters,
    write_free_members,
    write_members,
)
from worker.inference.grammar.object_rules import list_properties
from worker.inference.grammar.quoted_values import QuotedValues
from worker.inference.grammar.raw_values import RawValues
from worker.inference.grammar.rule_list import RuleList
from worker.model.rendering.call_format import ParameterCalls, common_prefix

FREE_KEY = "/[A-Za-z_][A-Za-z0-9_-]{0,63}/"
# Of parameters: one of them would need a grammar for each of its choices.
COMBINED = ("anyOf", "oneOf", "allOf")


class ParameterRules:
    """Writes calls with all of their text but the opening and the closing.

    A value without quotes ends with a part of what follows it, so that such calls have their
    closing too.
    """

    def __init__(self, calls: ParameterCalls, literals: Literals, rules: RuleList) -> None:
        self._calls = calls
        self._literals = literals
        self._rules = rules
        closing = calls.delimiters.closing.rstrip()
        self._value_end = "" if calls.quote else common_prefix([calls.next, closing])
        self._delimiters = self._make_delimiters(closing)

    def _make_delimiters(self, closing: str) -> MemberDelimiters:
        calls, write = self._calls, self._literals.write
        size = len(self._value_end)
        end, empty = closing[size:], calls.empty.rstrip()
        if calls.quote:
            # Without arguments a call has only what is before them.
            end, empty = "", empty.removesuffix(closing)
        return MemberDelimiters(
            write(calls.first), write(calls.next[size:]), write(end), write(empty)
        )

    def write(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Write a call of a function as an expression. Raises Unwritable."""
        if not self._calls.quote and self._calls.delimiters.between is not None:
            raise Unwritable("no more than one call at a time")
        root = parameters
        values: RawValues | QuotedValues = (
            QuotedValues(self._calls, self._literals, self._rules, root)
            if self._calls.quote
            else RawValues(self._calls, self._value_end, self._literals, self._rules, root)
        )
        schema = resolve_object(root)
        combined = next((keyword for keyword in COMBINED if keyword in schema), None)
        if combined is not None:
            raise Unwritable(f"'{combined}' of all arguments")
        if "properties" not in schema and schema.get("additionalProperties", True):
            key = f"{FREE_KEY} {self._literals.write(self._calls.key_end)}"
            member = self._rules.add(f"{key} {values.write_any()}")
            members = write_free_members(member, self._delimiters)
        else:
            members = write_members(
                self._list_members(schema, root, values), self._delimiters, self._rules
            )
        return f"{self._literals.write(name)} {members}"

    def _list_members(
        self, schema: Mapping[str, Any], root: Mapping[str, Any], values: RawValues | QuotedValues
    ) -> list[Member]:
        members: list[Member] = []
        for each in list_properties(schema, self._calls):
            key = self._literals.write(each.name + self._calls.key_end)
            value = values.write(each.schema, find_types(root, each.name))
            members.append(Member(self._rules.add(f"{key} {value}"), each.is_required))
        return members
