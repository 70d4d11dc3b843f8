"""Tests of a promptfoo config, as items with the criteria that they are tested by."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from app.eval_imports.plan import DifferenceList, ImportFault
from app.eval_imports.promptfoo_assertions import AssertionContext, Unmappable, map_assertion
from app.evals.run_sources import MAX_ITEMS
from app.evals.schemas import MAX_CRITERIA

READ_KEYS = {"description", "vars", "assert", "options", "metadata"}
READ_OPTIONS = {
    "provider",
    "rubricPrompt",
    "disableVarExpansion",
    "disableDefaultAsserts",
    "prefix",
    "suffix",
}
# What decides how a test ends, and no criterion does.
DECISIVE_KEYS = {
    "threshold": "It passes by the mean of its scores.",
    "assertScoringFunction": "It passes by a program.",
    "providerOutput": "Its output is given, and no model is sampled.",
}
UNKNOWN_ASSERTION = "It has no type, and names no template that is there."
DESCRIPTIONS: dict[str, type] = {"description": str, "metadata": dict}
DECISIVE_OPTIONS = ("transform", "transformVars", "postprocess")


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """An item, and the criteria that refer to its `expected` texts, each with its place."""

    item: dict[str, Any]
    criteria: list[tuple[str, dict[str, Any]]]


class ItemReader:
    """Reads the tests of a config, with its default test."""

    def __init__(self, config: Mapping[str, Any], differences: DifferenceList) -> None:
        self._differences = differences
        self._default: Mapping[str, Any] = {}
        given = config.get("defaultTest")
        if isinstance(given, dict):
            self._default = given
        elif given is not None:
            reason = "It is in another file. Write it into the config."
            differences.leave_out("defaultTest", reason, "defaultTest")
        templates = config.get("assertionTemplates")
        self._templates = templates if isinstance(templates, dict) else {}
        self._remaining_items = MAX_ITEMS

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of all tests."""
        return _read_object(self._default.get("options"))

    def read(self, test: Any, place: str) -> Iterator[PlannedItem]:
        """Read a test: an item for each combination of its variables' values."""
        reason = self._find_obstacle(test)
        if reason is not None:
            self._differences.leave_out("test", reason, place)
            return
        self._report_unread(test, place)
        options = {**self.options, **_read_object(test.get("options"))}
        variables = {
            **_read_object(self._default.get("vars")),
            **_read_object(test.get("vars")),
        }
        assertions = list(self._list_assertions(test, options, place))
        described = self._describe(test, place)
        for combination in self._combine(variables, options):
            yield from self._build(described, combination, options, assertions, place)

    def _find_obstacle(self, test: Any) -> str | None:
        """Find out why a test cannot be an item."""
        if not isinstance(test, dict):
            return "It is in another file. Write it into the config."
        for fields in (self._default, test):
            if not isinstance(fields.get("vars", {}), dict):
                return "Its variables are in another file. Write them into the config."
            if not isinstance(fields.get("assert") or [], list):
                return "Its assertions are in another file. Write them into the config."
            for key, reason in DECISIVE_KEYS.items():
                if fields.get(key) is not None:
                    return reason
            for key in DECISIVE_OPTIONS:
                if _read_object(fields.get("options")).get(key) is not None:
                    return "A program changes its variables or its output."
        options = _read_object(test.get("options"))
        if options.get("prefix") or options.get("suffix"):
            return "It has a prefix or suffix of its own for the prompts."
        values = [*_read_object(self._default.get("vars")).values()]
        values += _read_object(test.get("vars")).values()
        for value in values:
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and each.startswith(("file://", "package:")):
                    return "A variable is in another file. Write it into the config."
                if isinstance(each, str) and ("{{" in each or "{%" in each):
                    return "A variable is a template."
        return None

    def _report_unread(self, test: Mapping[str, Any], place: str) -> None:
        reason = "It has no counterpart."
        for fields, where, read in (
            (self._default, "defaultTest", READ_KEYS - DESCRIPTIONS.keys()),
            (test, place, READ_KEYS),
        ):
            for key in fields:
                if key not in read:
                    self._differences.leave_out(f"'{key}' of tests", reason, where)
            for key in _read_object(fields.get("options")):
                if key not in READ_OPTIONS:
                    self._differences.leave_out(f"'options.{key}' of tests", reason, where)

    def _describe(self, test: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Read what describes a test, if it has the type that the items' schema says."""
        described = {}
        for name, kind in DESCRIPTIONS.items():
            value = test.get(name)
            if isinstance(value, kind):
                described[name] = value
            elif value is not None:
                reason = f"Expected {'a text' if kind is str else 'an object'}."
                self._differences.leave_out(f"'{name}' of tests", reason, place)
        return described

    def _list_assertions(
        self, test: Mapping[str, Any], options: Mapping[str, Any], place: str
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if not options.get("disableDefaultAsserts"):
            yield from self._flatten(self._default.get("assert"), "defaultTest.assert")
        yield from self._flatten(test.get("assert"), f"{place}.assert")

    def _flatten(
        self, assertions: Any, place: str, *, is_in_set: bool = False
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """List assertions with their places; those of a set, all of which have to pass, too."""
        if assertions and not isinstance(assertions, list):
            reason = "They are in another file. Write them into the config."
            self._differences.leave_out("assertions", reason, place)
            return
        for number, given in enumerate(assertions or []):
            where = f"{place}[{number}]"
            each = self._resolve(given)
            if each is None:
                self._differences.leave_out("assertion", UNKNOWN_ASSERTION, where)
            elif each.get("type") != "assert-set":
                yield where, each
            elif each.get("threshold") is not None or is_in_set:
                reason = "It passes if a part of its assertions does."
                self._differences.leave_out("assert-set", reason, where)
            else:
                yield from self._flatten(each.get("assert"), f"{where}.assert", is_in_set=True)

    def _resolve(self, given: Any) -> Mapping[str, Any] | None:
        reference = given.get("$ref") if isinstance(given, dict) else None
        if isinstance(reference, str):
            name = reference.removeprefix("#/assertionTemplates/")
            given = self._templates.get(name)
        return given if isinstance(given, dict) and "type" in given else None

    def _combine(
        self, variables: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        """Combine each value of the variables that are lists with each of the others.

        Raises ImportFault.
        """
        is_expanded = not options.get("disableVarExpansion")
        choices = [
            value if is_expanded and isinstance(value, list) else [value]
            for value in variables.values()
        ]
        self._remaining_items -= math.prod(map(len, choices))
        if self._remaining_items < 0:
            raise ImportFault(
                f"The tests have more than {MAX_ITEMS:,} combinations of variables. Split the "
                "config into several."
            )
        for values in product(*choices):
            yield dict(zip(variables, values, strict=True))

    def _build(
        self,
        described: Mapping[str, Any],
        variables: Mapping[str, Any],
        options: Mapping[str, Any],
        assertions: list[tuple[str, Mapping[str, Any]]],
        place: str,
    ) -> Iterator[PlannedItem]:
        expected: list[str] = []
        criteria = []
        for where, fields in assertions:
            kind = str(fields["type"])
            try:
                mapped = map_assertion(fields, AssertionContext(variables, options, len(expected)))
            except Unmappable as error:
                self._differences.leave_out(kind, str(error), where)
                continue
            for change in mapped.changes:
                self._differences.change(kind, change, where)
            expected += mapped.values
            criteria.append((where, mapped.criterion))
        if not criteria:
            reason = "It has no assertion that could be a criterion."
            self._differences.leave_out("test", reason, place)
        elif len(criteria) > MAX_CRITERIA:
            reason = f"It has more than {MAX_CRITERIA} assertions."
            self._differences.leave_out("test", reason, place)
        else:
            item = {**described, "vars": dict(variables), "expected": expected}
            yield PlannedItem(item, criteria)


def _read_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
