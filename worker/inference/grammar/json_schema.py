"""Grammars of JSON: any object, or what a JSON Schema describes."""

import json
from typing import TYPE_CHECKING

from llguidance import LLMatcher

from worker.inference.grammar.schema_rules import InvalidSchema, Schema, read_schema

if TYPE_CHECKING:
    # A type alone: the extension module has no such name.
    from llguidance._lib import JsonCompileOptions

# Between two parts of JSON: nothing, a space, or a line break and an indentation. A small model may
# otherwise write line breaks until it has no tokens left.
WHITESPACE = r"\x20|\x0A(?:\x20{0,20}|\x09{0,10})"

ANY_OBJECT: Schema = {"type": "object"}


def json_grammar(schema: Schema, *, strict: bool = False) -> str:
    """Build the source of a schema's grammar. Raises InvalidSchema.

    Without `strict`, what no grammar can enforce is not enforced: some keywords, formats of
    strings, and that oneOf means exactly one.
    """
    options: JsonCompileOptions = {"whitespace_pattern": WHITESPACE, "lenient": not strict}
    readable = read_schema(schema, strict=strict)
    try:
        text = json.dumps(readable, allow_nan=False)
    except ValueError as error:
        raise InvalidSchema("its numbers must be finite.") from error
    return LLMatcher.grammar_from_json_schema(text, overrides=options)
