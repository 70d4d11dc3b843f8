"""Keywords of JSON Schema, each with values that fulfil it and values that do not.

In the structure of JSON-Schema-Test-Suite: values are allowed or not by the compiled grammar, token
by token. Keywords that no grammar enforces are refused by name with `strict`.
"""

import json
from typing import Any

import pytest

from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.grammar.json_schema import json_grammar
from worker.inference.grammar.schema_rules import InvalidSchema
from worker.inference.vocabulary import Vocabulary

STOP = 2
INTEGER = {"type": "integer"}
TREE = {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}}

# Keyword, schema, values that fulfil it, values that do not.
KEYWORDS: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("type", {"type": "integer"}, [1, -5], [1.5, "1", None, True, [], {}]),
    ("type", {"type": ["string", "null"]}, ["a", None], [1, False, [], {}]),
    ("const", {"const": {"a": [1, False]}}, [{"a": [1, False]}], [{"a": [1, 0]}, {}, None]),
    ("enum", {"enum": ["a", 6, None, [True]]}, ["a", 6, None, [True]], ["b", 7, [1], "6"]),
    ("minimum", {"type": "number", "minimum": 1.1}, [1.1, 2.6], [1, 0.6, -5]),
    ("maximum", {"type": "number", "maximum": 3}, [3, 2.6, -9], [3.5, 12]),
    ("exclusiveMinimum", {"type": "number", "exclusiveMinimum": 1.1}, [1.2], [1.1, 0.6]),
    ("exclusiveMaximum", {"type": "integer", "exclusiveMaximum": 3}, [2, -1], [3, 10]),
    ("multipleOf", {"type": "number", "multipleOf": 1.5}, [0, 4.5], [35]),
    ("minLength", {"type": "string", "minLength": 2}, ["ab", "\U0001f4a9é"], ["", "\U0001f4a9"]),
    ("maxLength", {"type": "string", "maxLength": 2.0}, ["", "é\U0001f4a9"], ["abc"]),
    ("pattern", {"type": "string", "pattern": "^a*$"}, ["", "aaa"], ["abc"]),
    ("pattern", {"type": "string", "pattern": "a+"}, ["xxaayy"], ["xyz"]),
    ("format", {"type": "string", "format": "date"}, ["2026-02-28"], ["06/19/1963", "2026-13-01"]),
    ("format", {"type": "string", "format": "ipv4"}, ["127.0.0.1"], ["256.0.0.1", "1.2.3"]),
    ("items", {"type": "array", "items": INTEGER}, [[], [1, 2]], [[1, "x"], {"a": 1}]),
    (
        "prefixItems",
        {"type": "array", "prefixItems": [INTEGER, {"type": "string"}], "items": False},
        [[], [1], [1, "a"]],
        [["a"], [1, "a", 2]],
    ),
    ("minItems", {"type": "array", "minItems": 1}, [[1], [1, 2]], [[]]),
    ("maxItems", {"type": "array", "maxItems": 2.0}, [[], [1, 2]], [[1, 2, 3]]),
    (
        "properties",
        {"type": "object", "properties": {"a": INTEGER, "b": {"type": "string"}}},
        [{}, {"a": 1, "b": "x"}, {"c": []}],
        [{"a": "x"}, {"a": 1, "b": {}}],
    ),
    (
        "required",
        {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]},
        [{"a": 1}, {"a": None, "b": 2}],
        [{}, {"b": 1}],
    ),
    (
        "additionalProperties",
        {"type": "object", "properties": {"a": {}}, "additionalProperties": INTEGER},
        [{"a": "x"}, {"a": 1, "q": 2}],
        [{"a": 1, "q": "x"}],
    ),
    (
        "patternProperties",
        {"type": "object", "patternProperties": {"^f": INTEGER}, "additionalProperties": False},
        [{}, {"foo": 1, "foe": 2}],
        [{"foo": "x"}, {"bar": 1}],
    ),
    ("minProperties", {"type": "object", "minProperties": 1}, [{"a": 1}], [{}]),
    ("maxProperties", {"type": "object", "maxProperties": 1}, [{}, {"a": 1}], [{"a": 1, "b": 2}]),
    ("anyOf", {"anyOf": [INTEGER, {"type": "string", "maxLength": 1}]}, [3, "a"], ["ab", 1.5]),
    ("oneOf", {"oneOf": [INTEGER, {"type": "boolean"}]}, [3, True], ["a", 1.5]),
    ("allOf", {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 3}]}, ["ab"], ["a", 5]),
    ("$ref", {**TREE, "$ref": "#/$defs/node"}, [{}, {"next": {"next": {}}}], [{"next": 1}, []]),
    (
        "not a keyword",
        {"type": "object", "properties": {"type": INTEGER}},
        [{"type": 1}],
        [{"type": "a"}],
    ),
]
UNENFORCED = {
    "not": {"type": "string"},
    "if": {"type": "string"},
    "then": {"type": "string"},
    "else": {"type": "string"},
    "contains": {"type": "string"},
    "minContains": 1,
    "maxContains": 1,
    "uniqueItems": True,
    "propertyNames": {"maxLength": 3},
    "dependentRequired": {"a": ["b"]},
    "dependentSchemas": {"a": {"type": "object"}},
    "unevaluatedItems": False,
    "unevaluatedProperties": False,
    "$dynamicRef": "#a",
    "contentSchema": {"type": "string"},
}


@pytest.fixture
def compiler(vocabulary: Vocabulary) -> GrammarCompiler:
    return GrammarCompiler(vocabulary, {STOP})


def is_allowed(compiler: GrammarCompiler, schema: Any, value: Any, vocabulary: Vocabulary) -> bool:
    """Check that each token of a value is allowed, and then its end."""
    state = compiler.compile(json_grammar(schema)).start()
    ids = vocabulary.encode_exactly(json.dumps(value, ensure_ascii=False))
    assert ids is not None
    for id in ids:
        if state.is_complete or not state.allowed_tokens(vocabulary.size)[id]:
            return False
        state.advance(id)
    return state.is_complete or bool(state.allowed_tokens(vocabulary.size)[STOP])


@pytest.mark.parametrize(("keyword", "schema", "right", "wrong"), KEYWORDS)
def test_a_keyword_is_enforced(
    compiler: GrammarCompiler,
    vocabulary: Vocabulary,
    keyword: str,
    schema: Any,
    right: list[Any],
    wrong: list[Any],
) -> None:
    allowed = [value for value in right + wrong if is_allowed(compiler, schema, value, vocabulary)]
    assert json.dumps(allowed) == json.dumps(right), keyword


@pytest.mark.parametrize("keyword", UNENFORCED)
def test_a_keyword_that_is_not_enforced_is_refused_by_name(keyword: str) -> None:
    inner = {"type": "string", keyword: UNENFORCED[keyword]}
    schema = {
        "type": "object",
        "properties": {"a": inner},
        "required": ["a"],
        "additionalProperties": False,
    }
    with pytest.raises(InvalidSchema) as raised:
        json_grammar(schema, strict=True)
    assert f"'{keyword}' is not permitted" in str(raised.value)
    # Without strict it is left out.
    json_grammar(schema)
