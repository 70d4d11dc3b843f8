"""Rules for JSON Schemas of structured outputs: size, keywords, and OpenAI's strict mode.

The limits are those that OpenAI documents, unless said otherwise. They bound the time of compiling
a grammar to about two seconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from worker.inference.grammar.finite_values import has_finite_value

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]

MAX_PROPERTIES = 5_000
# Not OpenAI's, whose strict mode has none: any of them may come next, so each costs at each token.
MAX_OPTIONAL_PROPERTIES = 250
# Not OpenAI's: one value may begin with what any of them refers to, and its first token costs the
# product of their numbers.
MAX_REFERENCES = 500
# Not OpenAI's: schemas that one value must fulfil at once. The grammar is built from all
# combinations of their patterns, whose number doubles with each: 10 take milliseconds, 14 a second,
# 20 half a minute and gigabytes.
MAX_CONJUNCTIONS = 10
# Levels of objects and arrays.
MAX_LEVELS = 10
# Not OpenAI's: levels of JSON, so that no schema is too deep to be read.
MAX_NESTING = 64
MAX_ENUM_VALUES = 1_000
# An enum with more values than this may have so many characters.
LARGE_ENUM_VALUES = 250
MAX_LARGE_ENUM_CHARACTERS = 15_000
# Names of properties and definitions, and values of enum and const.
MAX_NAME_CHARACTERS = 120_000
# Not OpenAI's: regular expressions, all together.
MAX_PATTERN_CHARACTERS = 10_000

# Not OpenAI's: values of multipleOf as integers (0.25 is 25), all together. Digits are read by an
# automaton with a state for each remainder, which takes a second and 45 MB for 100,000.
MAX_MULTIPLES = 2_000
MAX_DECIMALS = 9
# Not OpenAI's: the largest number of a range for which there is a grammar. An upper bound above it
# is narrowed, so that 2⁶³ - 1, which schemas of integers often have, is no error.
MAX_NUMBER = 10**17
LOWER_BOUNDS = frozenset({"minimum", "exclusiveMinimum"})
UPPER_BOUNDS = frozenset({"maximum", "exclusiveMaximum"})

SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
SCHEMA_VALUES = frozenset({"items", "additionalItems", "additionalProperties"})
# What the grammar enforces beside those.
ASSERTIONS = frozenset(
    "$ref const enum type minItems maxItems required minProperties maxProperties minLength "
    "maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum "
    "multipleOf".split()
)
COUNTS = frozenset("minItems maxItems minProperties maxProperties minLength maxLength".split())
# What says nothing about the form of an answer.
ANNOTATIONS = frozenset(
    "$anchor $comment $id $schema contentEncoding contentMediaType default deprecated description "
    "discriminator example examples id readOnly title writeOnly".split()
)
# What names and refers to schemas, and so stays in a schema that is compiled.
IDENTIFIERS = frozenset({"$anchor", "$id", "$schema"})
ENFORCED = SCHEMA_MAPS | SCHEMA_LISTS | SCHEMA_VALUES | ASSERTIONS
# Each of them is to be fulfilled together with all other assertions beside it.
COMBINATIONS = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
# OpenAI permits no combination at the root in strict mode, and allOf nowhere.
NO_STRICT_ROOT = ("anyOf", "oneOf", "allOf", "enum", "not")
# One of them says which values a schema is for.
TYPED_BY = frozenset({"type", "$ref", "anyOf", "oneOf", "enum", "const"})


class InvalidSchema(ValueError):
    """A JSON Schema that structured outputs do not support."""


def read_schema(schema: Schema, *, strict: bool) -> dict[str, Any]:
    """Check a schema, and return it without annotations. Raises InvalidSchema.

    Without `strict`, keywords that no grammar enforces are left out too, and not enforced.
    """
    reader = _Reader(strict)
    if strict:
        _check_strict_root(schema)
    result: dict[str, Any] = reader.read(schema, (), 0)
    if reader.num_references and not has_finite_value(result):
        raise InvalidSchema("no text can fulfil it: its required parts contain themselves.")
    return result


def _fail(path: Path, sentence: str) -> InvalidSchema:
    return InvalidSchema(f"In context={path!r}, {sentence}")


def _check_strict_root(schema: Schema) -> None:
    found = [keyword for keyword in NO_STRICT_ROOT if keyword in schema]
    if schema.get("type") != "object" or found:
        got = f"'{found[0]}'" if found else f"'type: {schema.get('type')!r}'"
        raise InvalidSchema(
            "schema must have type 'object' and not have "
            f"{'/'.join(map(repr, NO_STRICT_ROOT))} at the top level, but got {got}."
        )


@dataclass(slots=True)
class _Reader:
    """Walks a schema once, and counts what its limits are for."""

    strict: bool
    num_properties: int = 0
    num_optional: int = 0
    num_references: int = 0
    num_conjunctions: int = 0
    num_enum_values: int = 0
    num_name_characters: int = 0
    num_pattern_characters: int = 0
    num_multiples: int = 0
    # Remainders by several numbers that one value is a multiple of.
    num_joint_multiples: int = 1

    def read(self, schema: Any, path: Path, level: int) -> Any:
        """Check a schema and those in it, and return a copy without annotations."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise _fail(path, "schema must be an object.")
        if len(path) > MAX_NESTING:
            raise InvalidSchema(f"it is nested deeper than {MAX_NESTING} levels.")
        level += _is_container(schema)
        if level > MAX_LEVELS:
            raise _fail(path, f"objects and arrays are nested deeper than {MAX_LEVELS} levels.")
        self._check_keywords(schema, path)
        self._count(schema, path)
        if self.strict:
            _check_strict(schema, path)
        return dict(self._read_keywords(schema, path, level))

    def _read_keywords(self, schema: Schema, path: Path, level: int) -> Iterator[tuple[str, Any]]:
        for keyword, value in schema.items():
            if keyword in SCHEMA_MAPS:
                if not isinstance(value, dict):
                    raise _fail(path, f"'{keyword}' must be an object.")
                # Definitions are counted where they stand, not where they are used.
                inner = level if keyword in ("properties", "patternProperties") else 0
                items = value.items()
                yield keyword, {k: self.read(v, (*path, keyword, k), inner) for k, v in items}
            elif keyword in SCHEMA_LISTS or (keyword == "items" and isinstance(value, list)):
                if not isinstance(value, list):
                    raise _fail(path, f"'{keyword}' must be an array.")
                yield (
                    keyword,
                    [self.read(v, (*path, keyword, index), level) for index, v in enumerate(value)],
                )
            elif keyword in SCHEMA_VALUES:
                yield keyword, self.read(value, (*path, keyword), level)
            elif keyword in COUNTS and isinstance(value, float) and value.is_integer():
                # JSON Schema knows no difference between 2 and 2.0.
                yield keyword, int(value)
            elif keyword in LOWER_BOUNDS | UPPER_BOUNDS:
                yield keyword, _narrow_bound(keyword, value, path)
            elif keyword in ASSERTIONS | IDENTIFIERS:
                yield keyword, value

    def _check_keywords(self, schema: Schema, path: Path) -> None:
        multiple = schema.get("multipleOf")
        if isinstance(multiple, int | float) and multiple <= 0:
            raise _fail(path, "'multipleOf' must be greater than 0.")
        if not self.strict and _list_names(required := schema.get("required", [])) != required:
            raise _fail(path, "'required' must be an array of strings.")
        reference = schema.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise _fail(path, f"'$ref' must begin with '#': {reference[:80]!r} is not fetched.")
        if self.strict:
            for keyword in schema:
                if keyword not in ENFORCED | ANNOTATIONS or keyword == "allOf":
                    raise _fail(path, f"'{keyword[:80]}' is not permitted.")

    def _count(self, schema: Schema, path: Path) -> None:
        names = [name for keyword in SCHEMA_MAPS for name in _as_dict(schema.get(keyword))]
        properties = _as_dict(schema.get("properties"))
        self.num_properties += len(properties)
        self.num_references += "$ref" in schema
        self.num_conjunctions += _count_conjunctions(schema)
        self.num_optional += len(properties.keys() - set(_list_names(schema.get("required"))))
        self.num_name_characters += sum(map(len, names))
        self._count_values(schema, path)
        multiple = _count_remainders(schema.get("multipleOf"))
        self.num_multiples += multiple
        self.num_joint_multiples = min(self.num_joint_multiples * max(multiple, 1), 10**9)
        joint = self.num_joint_multiples if self.num_conjunctions else 0
        patterns = [*_as_dict(schema.get("patternProperties")), schema.get("pattern")]
        self.num_pattern_characters += sum(len(p) for p in patterns if isinstance(p, str))
        for what, number, limit in (
            ("object properties", self.num_properties, MAX_PROPERTIES),
            ("optional properties", self.num_optional, MAX_OPTIONAL_PROPERTIES),
            ("conjunctions of schemas", self.num_conjunctions, MAX_CONJUNCTIONS),
            ("references", self.num_references, MAX_REFERENCES),
            ("enum values", self.num_enum_values, MAX_ENUM_VALUES),
            ("characters of names and values", self.num_name_characters, MAX_NAME_CHARACTERS),
            ("'multipleOf' together", max(self.num_multiples, joint), MAX_MULTIPLES),
            ("characters of patterns", self.num_pattern_characters, MAX_PATTERN_CHARACTERS),
        ):
            if number > limit:
                raise _fail(path, f"the schema exceeds the limit of {limit} {what}.")

    def _count_values(self, schema: Schema, path: Path) -> None:
        values = schema.get("enum", [])
        if not isinstance(values, list):
            raise _fail(path, "'enum' must be an array.")
        characters = sum(len(str(value)) for value in values)
        self.num_enum_values += len(values)
        self.num_name_characters += characters + len(str(schema.get("const", "")))
        if len(values) > LARGE_ENUM_VALUES and characters > MAX_LARGE_ENUM_CHARACTERS:
            raise _fail(
                path,
                f"the {len(values)} values of 'enum' exceed the limit of "
                f"{MAX_LARGE_ENUM_CHARACTERS} characters for more than {LARGE_ENUM_VALUES} values.",
            )


def _list_names(required: Any) -> list[str]:
    """List the names in `required`; what is no list of names has its own error."""
    return [name for name in required if isinstance(name, str)] if type(required) is list else []


def _narrow_bound(keyword: str, bound: Any, path: Path) -> Any:
    """Narrow a bound of numbers to one that grammars know; what is within stays as it is."""
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        return bound
    narrowed = max(-MAX_NUMBER, min(bound, MAX_NUMBER))
    is_loose = narrowed <= bound if keyword in UPPER_BOUNDS else narrowed >= bound
    if not is_loose:
        side = "at least -" if keyword in UPPER_BOUNDS else "at most "
        raise _fail(path, f"'{keyword}' must be {side}{MAX_NUMBER}: others are not enforced.")
    return narrowed


def _count_remainders(multiple: Any) -> int:
    """Count the remainders of a division by `multipleOf`, as an integer without a decimal point."""
    if isinstance(multiple, bool) or not isinstance(multiple, int | float) or multiple <= 0:
        # The grammar refuses it.
        return 0
    _, digits, exponent = Decimal(repr(multiple)).as_tuple()
    if not isinstance(exponent, int) or not -MAX_DECIMALS <= exponent <= MAX_DECIMALS:
        return MAX_MULTIPLES + 1
    number = int("".join(map(str, digits[: MAX_DECIMALS + 1])))
    return number * int(10 ** max(exponent, 0))


def _count_conjunctions(schema: Schema) -> int:
    """Count the schemas that a value of this one must fulfil, beside the first."""
    parts = schema.get("allOf")
    num_parts = len(parts) if isinstance(parts, list) else 0
    num_others = len((COMBINATIONS - {"allOf"}) & schema.keys())
    own = (ENFORCED - COMBINATIONS - {"$defs", "definitions"}) & schema.keys()
    return max(num_parts + num_others + bool(own) - 1, 0)


def _as_dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_container(schema: Schema) -> bool:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return "properties" in schema or "items" in schema or "object" in kinds or "array" in kinds


def _check_strict(schema: Schema, path: Path) -> None:
    """Check OpenAI's rules for a schema in strict mode, in OpenAI's words."""
    if not TYPED_BY & schema.keys():
        raise _fail(path, "schema must have a 'type' key.")
    kinds = schema.get("type")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        return
    if schema.get("additionalProperties") is not False:
        raise _fail(path, "'additionalProperties' is required to be supplied and to be false.")
    required = schema.get("required", [])
    properties = _as_dict(schema.get("properties"))
    rule = "'required' is required to be supplied and to be an array including every key in"
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _fail(path, f"{rule} properties.")
    required_names = set(required)
    for name in properties:
        if name not in required_names:
            raise _fail(path, f"{rule} properties. Missing '{name}'.")
    for name in required:
        if name not in properties:
            raise _fail(path, f"{rule} properties. Extra required key '{name}' supplied.")
