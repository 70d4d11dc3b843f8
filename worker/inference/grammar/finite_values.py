"""Check that a JSON Schema has a value that ends, if it refers to its own parts."""

from collections.abc import Iterable, Mapping
from typing import Any

from worker.inference.grammar.pointers import resolve

Schema = Mapping[str, Any]


def has_finite_value(schema: Schema) -> bool:
    """Check whether any finite value may fulfil a schema: the least fixed point of its references.

    What only other keywords rule out is left to the grammar. Takes a time linear in the schema.
    """
    conditions = _Conditions(schema)
    return conditions.is_met(conditions.of(schema))


class _Conditions:
    """Conditions for values to end: Horn clauses, solved by counting what each still needs.

    See Dowling and Gallier (1984), "Linear-time algorithms for testing the satisfiability of
    propositional Horn formulae".
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        # Of each condition: how many others it needs, and those that need it.
        self._needed: list[int] = []
        self._dependents: list[list[int]] = []
        # By the identity of a part of the schema.
        self._of_part: dict[int, int] = {}
        self._unread: list[tuple[int, Schema]] = []

    def of(self, schema: Any) -> int:
        """Return the condition for a schema to have a finite value."""
        if not isinstance(schema, Mapping):
            return self._add(1 if schema is False else 0)
        condition = self._of_part.get(id(schema))
        if condition is None:
            condition = self._of_part[id(schema)] = self._add(0)
            self._unread.append((condition, schema))
        return condition

    def is_met(self, wanted: int) -> bool:
        while self._unread:
            condition, schema = self._unread.pop()
            parts = list(self._list_parts(schema))
            self._needed[condition] = len(parts)
            for part in parts:
                self._dependents[part].append(condition)
        met = [condition for condition, needed in enumerate(self._needed) if not needed]
        while met:
            for dependent in self._dependents[met.pop()]:
                self._needed[dependent] -= 1
                if self._needed[dependent] == 0:
                    met.append(dependent)
        return self._needed[wanted] <= 0

    def _add(self, needed: int) -> int:
        self._needed.append(needed)
        self._dependents.append([])
        return len(self._needed) - 1

    def _any_of(self, options: Iterable[Any]) -> int:
        condition = self._add(1)
        for option in options:
            self._dependents[self.of(option)].append(condition)
        return condition

    def _list_parts(self, schema: Schema) -> Iterable[int]:
        """Yield the conditions that must all be met for a schema."""
        reference = schema.get("$ref")
        # A reference that leads nowhere is not judged.
        if isinstance(reference, str) and (target := resolve(self._root, reference)) is not None:
            yield self.of(target)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                yield self._any_of(schema[keyword])
        yield from map(self.of, schema.get("allOf", ()))
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if kinds == ["object"]:
            yield from map(self.of, _list_required(schema))
        elif kinds == ["array"] and _min_items(schema):
            yield self.of(schema.get("items", True))


def _list_required(schema: Schema) -> Iterable[Any]:
    """List the schemas of the members that an object must have."""
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or not isinstance(properties, Mapping):
        return []
    names = {name for name in required if isinstance(name, str)}
    return [properties[name] for name in names & properties.keys()]


def _min_items(schema: Schema) -> int:
    least = schema.get("minItems", 0)
    return least if isinstance(least, int) else 0
