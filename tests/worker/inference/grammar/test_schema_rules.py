"""Rules for JSON Schemas: OpenAI's strict mode in its words, keywords, and limits."""

from typing import Any

import pytest

from tests.executed_lines import count_executed_lines
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.grammar.finite_values import has_finite_value
from worker.inference.grammar.json_schema import json_grammar
from worker.inference.grammar.schema_rules import (
    MAX_LEVELS,
    MAX_OPTIONAL_PROPERTIES,
    MAX_PATTERN_CHARACTERS,
    InvalidSchema,
    read_schema,
)
from worker.inference.vocabulary import Vocabulary

TEXT = {"type": "string"}


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object as strict mode wants it."""
    shape = {"type": "object", "properties": properties, "required": [*properties]}
    return {**shape, "additionalProperties": False, **more}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(levels):
        schema = closed({"a": schema})
    return schema


def reject(schema: Any, *, strict: bool = True) -> str:
    with pytest.raises(InvalidSchema) as raised:
        read_schema(schema, strict=strict)
    return str(raised.value)


STRICT_ERRORS: list[tuple[Any, str]] = [
    (
        {"type": "object", "properties": {}},
        "In context=(), 'additionalProperties' is required to be supplied and to be false.",
    ),
    (
        closed({"a": TEXT, "b": TEXT}, required=["a"]),
        "In context=(), 'required' is required to be supplied and to be an array including every "
        "key in properties. Missing 'b'.",
    ),
    (
        closed({"a": TEXT}, required=["a", "b"]),
        "In context=(), 'required' is required to be supplied and to be an array including every "
        "key in properties. Extra required key 'b' supplied.",
    ),
    (
        closed({"a": {"type": "object", "properties": {}}}),
        "In context=('properties', 'a'), 'additionalProperties' is required to be supplied and to "
        "be false.",
    ),
    (closed({"a": {}}), "In context=('properties', 'a'), schema must have a 'type' key."),
    (
        closed({"a": {"type": "array", "items": {"type": "string", "not": {"const": "x"}}}}),
        "In context=('properties', 'a', 'items'), 'not' is not permitted.",
    ),
    (
        closed({"a": {"allOf": [TEXT]}}),
        "In context=('properties', 'a'), schema must have a 'type' key.",
    ),
    (closed({}, requird=["a"]), "In context=(), 'requird' is not permitted."),
    (
        {"type": "array", "items": TEXT},
        "schema must have type 'object' and not have 'anyOf'/'oneOf'/'allOf'/'enum'/'not' at the "
        "top level, but got 'type: 'array''.",
    ),
    (
        {"anyOf": [closed({"a": TEXT})]},
        "schema must have type 'object' and not have 'anyOf'/'oneOf'/'allOf'/'enum'/'not' at the "
        "top level, but got 'anyOf'.",
    ),
]


@pytest.mark.parametrize(("schema", "message"), STRICT_ERRORS)
def test_strict_mode_demands_what_openai_demands(schema: Any, message: str) -> None:
    if "allOf" in str(schema.get("properties")):
        message = "In context=('properties', 'a'), 'allOf' is not permitted."
    assert reject(schema) == message


def test_annotations_are_left_out_and_the_order_of_properties_stays() -> None:
    schema = closed({"b": {**TEXT, "title": "B", "default": "x"}, "a": TEXT}, description="d")
    assert read_schema(schema, strict=True) == closed({"b": TEXT, "a": TEXT})
    assert [*read_schema(schema, strict=True)["properties"]] == ["b", "a"]


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    schema = closed({"not": TEXT, "title": TEXT, "$ref": TEXT, "default": TEXT})
    assert read_schema(schema, strict=True) == schema


def test_without_strict_what_no_grammar_enforces_is_left_out() -> None:
    schema = {"type": "array", "items": {**TEXT, "not": {"const": "x"}}, "uniqueItems": True}
    assert read_schema(schema, strict=False) == {"type": "array", "items": TEXT}


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (nested(MAX_LEVELS + 1), f"deeper than {MAX_LEVELS} levels"),
        ({"anyOf": [{"enum": ["x"] * 501}, {"enum": ["y"] * 500}]}, "1000 enum values"),
        ({"enum": ["x" * 60] * 251}, "15000 characters"),
        ({"const": "x" * 120_001}, "120000 characters"),
        ({"properties": {"x" * 120_001: TEXT}}, "120000 characters"),
        ({"properties": {f"p{n}": TEXT for n in range(5001)}}, "5000 object properties"),
        (
            {"properties": {f"p{n}": TEXT for n in range(MAX_OPTIONAL_PROPERTIES + 1)}},
            "250 optional properties",
        ),
        ({"anyOf": [{"$ref": "#"}] * 501}, "500 references"),
        ({"pattern": "a" * (MAX_PATTERN_CHARACTERS + 1)}, "10000 characters of patterns"),
        ({"properties": {f"p{n}": {"multipleOf": 400 + n} for n in range(5)}}, "2000 'multipleOf'"),
        ({"multipleOf": 6_999_881}, "2000 'multipleOf'"),
        ({"multipleOf": 1e300}, "2000 'multipleOf'"),
        ({"multipleOf": 20.01}, "2000 'multipleOf'"),
        ({"allOf": [{"multipleOf": 49}, {"multipleOf": 51}]}, "2000 'multipleOf'"),
        ({"$ref": "https://example.com/schema"}, "is not fetched"),
        ({"properties": ["a"]}, "must be an object"),
        ({"anyOf": {}}, "must be an array"),
        ({"enum": "a"}, "must be an array"),
        ({"items": "a"}, "must be an object"),
        ({"required": 5}, "'required' must be an array of strings"),
        ({"properties": {"a": {"required": [["a"]]}}}, "'required' must be an array of strings"),
        ({"multipleOf": 0}, "'multipleOf' must be greater than 0"),
        ({"multipleOf": -2.5}, "'multipleOf' must be greater than 0"),
        ({"minimum": 10**18}, "'minimum' must be at most 100000000000000000"),
        ({"exclusiveMaximum": -1e300}, "'exclusiveMaximum' must be at least -100000000000000000"),
    ],
)
def test_both_modes_have_limits(schema: Any, word: str) -> None:
    assert word in reject(schema, strict=False)


@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize(
    "bounds",
    [
        {"minimum": -(2**63), "maximum": 2**63 - 1},
        {"exclusiveMinimum": -1e300, "exclusiveMaximum": 1e300},
        {"minimum": 0, "maximum": 2**64 - 1},
        {"minimum": 10**17},
    ],
)
def test_bounds_of_wide_integers_are_no_error(
    vocabulary: Vocabulary, kind: str, bounds: dict[str, Any]
) -> None:
    """Grammars have no range that wide: one is narrowed, and what it allows is allowed."""
    GrammarCompiler(vocabulary, {2}).compile(json_grammar({"type": kind, **bounds}, strict=False))
    narrowed = read_schema({"type": kind, **bounds}, strict=False)
    for keyword, bound in narrowed.items():
        assert keyword == "type" or abs(bound) <= 10**17


def test_the_deepest_schema_is_read() -> None:
    assert read_schema(nested(MAX_LEVELS), strict=True) == nested(MAX_LEVELS)


def conjunction(count: int) -> Any:
    schema: Any = {"type": "string", "pattern": ".*yz.*"}
    for number in range(count):
        schema = {"type": "string", "pattern": f".*{number}.*", "anyOf": [schema]}
    return schema


def referred(count: int) -> Any:
    schemas = {
        f"d{n}": {"$ref": f"#/$defs/d{n + 1}", "type": "string", "pattern": f".*{n}.*"}
        for n in range(count)
    }
    schemas[f"d{count}"] = TEXT
    return closed({"a": {"$ref": "#/$defs/d0"}}, **{"$defs": schemas})


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (closed({"a": conjunction(11)}), True),
        (closed({"a": {"allOf": [{"pattern": f".*{n}.*"} for n in range(12)]}}), False),
        (referred(11), True),
    ],
    ids=["anyOf", "allOf", "$ref"],
)
def test_patterns_to_fulfil_at_once_are_bounded(schema: Any, strict: bool) -> None:
    assert "limit of 10 conjunctions" in reject(schema, strict=strict)


def test_combinations_without_other_assertions_are_no_conjunctions() -> None:
    optional = {"anyOf": [TEXT, {"type": "null"}], "description": "Maybe", "default": None}
    wrapped = {"allOf": [{"$ref": "#/$defs/d"}], "description": "A single reference"}
    properties = {f"a{n}": optional for n in range(20)} | {f"b{n}": wrapped for n in range(20)}
    read_schema(closed(properties, **{"$defs": {"d": TEXT}}), strict=False)


ITSELF = {"$ref": "#"}
NODE = {"$ref": "#/$defs/node"}


def make_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


@pytest.mark.parametrize(
    "schema",
    [
        ITSELF,
        make_object(a=ITSELF),
        make_object(a={"anyOf": [ITSELF, make_object(b=ITSELF)]}),
        make_object(a={"type": "array", "items": ITSELF, "minItems": 1}),
        {**make_object(a=NODE), "$defs": {"node": make_object(b=NODE)}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
    ids=str,
)
def test_a_schema_without_a_finite_value_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidSchema, match="no text can fulfil it"):
        read_schema(schema, strict=False)


@pytest.mark.parametrize(
    "schema",
    [
        {**make_object(a=ITSELF), "required": []},
        make_object(a={"anyOf": [ITSELF, {"type": "null"}]}),
        make_object(a={"type": "array", "items": ITSELF}),
        make_object(a={**ITSELF, "type": ["object", "null"]}) | {"required": []},
        {**make_object(a=NODE), "$defs": {"node": make_object(b={"anyOf": [NODE, True]})}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "null"}}},
        make_object(a={"enum": [{"$ref": "#"}]}),
    ],
    ids=str,
)
def test_a_schema_that_refers_to_itself_may_end(schema: Any) -> None:
    assert read_schema(schema, strict=False)


def test_looking_for_a_finite_value_takes_a_time_linear_in_the_schema() -> None:
    def count_lines(size: int) -> int:
        parts: dict[str, Any] = {f"d{size}": TEXT}
        for number in range(size):
            part = make_object(a=TEXT, b={"$ref": f"#/$defs/d{number + 1}"})
            parts[f"d{number}"] = {**part, "required": [*["a"] * size, "b"]}
        schema = {"$ref": "#/$defs/d0", "$defs": parts}
        return count_executed_lines(lambda: has_finite_value(schema))

    # The names in `required` grow with the square of the size.
    assert count_lines(200) < 17 * count_lines(50)
