"""Texts by the grammars of generated schemas: each is a JSON value that jsonschema accepts."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator, FormatChecker
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.grammar.grammar import Grammar
from worker.inference.grammar.json_schema import ANY_OBJECT, json_grammar
from worker.inference.vocabulary import Vocabulary

NUM_SCHEMAS = 200
# Those that jsonschema checks as the grammar does: to that, each year has a 29 February.
CHECKED_FORMATS = FormatChecker(["email", "ipv4", "ipv6", "uuid"])
MAX_TOKENS = 20_000
STOP = 2
WORDS = ("a", "né", "long name", 'quo"te', "<|im_end|>", "back\\slash")
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "duration")

Schema = dict[str, Any]


def text(rng: random.Random, depth: int) -> Schema:
    kind = rng.randrange(4)
    if kind == 0:
        return {"type": "string", "minLength": rng.randrange(3), "maxLength": rng.randrange(3, 9)}
    if kind == 1:
        return {"type": "string", "pattern": rng.choice(["^[a-c]{1,4}$", r"^\d{2}-[A-Z]?$"])}
    if kind == 2:
        return {"type": "string", "format": rng.choice(FORMATS)}
    return {"enum": rng.sample(WORDS, 2)}


def number(rng: random.Random, depth: int) -> Schema:
    low = rng.randrange(-1000, 1000)
    return {
        "type": rng.choice(["integer", "number"]),
        rng.choice(["minimum", "exclusiveMinimum"]): low,
        rng.choice(["maximum", "exclusiveMaximum"]): low + rng.randrange(2, 500),
    }


def constant(rng: random.Random, depth: int) -> Schema:
    return rng.choice(
        [{"type": "null"}, {"type": "boolean"}, {"const": {"a": [1, "x"]}}, {"const": -2.5}]
    )


def array(rng: random.Random, depth: int) -> Schema:
    low = rng.randrange(3)
    shape = {"type": "array", "minItems": low, "maxItems": low + rng.randrange(3)}
    if rng.random() < 0.3:
        return {**shape, "prefixItems": [make(rng, depth + 1)], "items": make(rng, depth + 1)}
    return {**shape, "items": make(rng, depth + 1)}


def mapping(rng: random.Random, depth: int) -> Schema:
    names = rng.sample(WORDS, rng.randrange(1, 4))
    return {
        "type": "object",
        "properties": {name: make(rng, depth + 1) for name in names},
        "required": [name for name in names if rng.random() < 0.7],
        "additionalProperties": False,
    }


def alternatives(rng: random.Random, depth: int) -> Schema:
    return {"anyOf": [make(rng, depth + 1), make(rng, depth + 1)]}


def reference(rng: random.Random, depth: int) -> Schema:
    return {"$ref": "#/$defs/leaf"}


LEAVES: tuple[Callable[[random.Random, int], Schema], ...] = (text, number, constant, reference)
NODES = (*LEAVES, array, mapping, alternatives)


def make(rng: random.Random, depth: int = 0) -> Schema:
    return rng.choice(LEAVES if depth > 3 else NODES)(rng, depth)


def make_document(seed: int) -> Schema:
    rng = random.Random(seed)
    return {**mapping(rng, 0), "$defs": {"leaf": text(rng, 0)}}


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """Spaces are marks, a text begins with one, and other letters are spelled by their bytes."""
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *map(chr, range(33, 127))]
    merges = [("▁", '"'), ('"', ":"), ('"', ","), ("▁", "{")]
    tokens = [*special, *bytes_, *letters, *("".join(pair) for pair in merges)]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    model = BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture(params=["byte-level", "byte fallback"])
def vocabulary(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    byte_level = request.param == "byte-level"
    return Vocabulary(tokenizer if byte_level else sentencepiece_tokenizer())


def by_letter(vocabulary: Vocabulary, letter: str) -> int:
    return max(id for id in range(vocabulary.size) if vocabulary.text_bytes(id) == letter.encode())


def walk(grammar: Grammar, vocabulary: Vocabulary, rng: random.Random) -> str:
    """A text of random tokens that the grammar allows, as a client receives it."""
    state, detokenizer, parts = grammar.start(), vocabulary.new_detokenizer(), []
    for _ in range(MAX_TOKENS):
        if state.is_complete:
            break
        allowed = torch.nonzero(state.allowed_tokens(vocabulary.size)).flatten().tolist()
        token = rng.choice(allowed)
        state.advance(token)
        if token == STOP:
            break
        parts.append(detokenizer.push(token))
    return "".join([*parts, detokenizer.flush()])


def test_each_text_fulfils_its_schema(vocabulary: Vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary, {STOP})
    num_valid = 0
    for seed in range(NUM_SCHEMAS):
        schema = make_document(seed)
        grammar = compiler.compile(json_grammar(schema))
        value = json.loads(walk(grammar, vocabulary, random.Random(seed)))
        Draft202012Validator(schema, format_checker=CHECKED_FORMATS).validate(value)
        num_valid += 1
    assert num_valid == NUM_SCHEMAS


def test_runs_of_whitespace_are_bounded(vocabulary: Vocabulary) -> None:
    grammar = GrammarCompiler(vocabulary, {STOP}).compile(json_grammar(ANY_OBJECT))
    state = grammar.start()
    # The last of those with these bytes: before it are tokens that stand for a byte.
    by_bytes = {vocabulary.text_bytes(id): id for id in range(vocabulary.size)}
    newline, space, brace = (by_bytes[data] for data in (b"\n", b" ", b"{"))
    for token in (brace, newline, *[space] * 20):
        assert state.allowed_tokens(vocabulary.size)[token]
        state.advance(token)
    allowed = state.allowed_tokens(vocabulary.size)
    assert not allowed[space]
    assert not allowed[newline]
    assert allowed.any()


def test_a_tokenizer_that_adds_a_space_spells_the_text_exactly() -> None:
    vocabulary = Vocabulary(sentencepiece_tokenizer())
    names = {"type": "object", "properties": {"né": {"const": " x"}}, "required": ["né"]}
    schema = {**names, "additionalProperties": False}
    # Not the token of the byte, which no text has where there is one for the letter.
    assert vocabulary.encode_exactly("{") == [by_letter(vocabulary, "{")]
    grammar = GrammarCompiler(vocabulary, {STOP}).compile(json_grammar(schema))
    for seed in range(20):
        assert json.loads(walk(grammar, vocabulary, random.Random(seed))) == {"né": " x"}


def test_logits_may_be_fewer_or_more_than_tokens(vocabulary: Vocabulary) -> None:
    state = GrammarCompiler(vocabulary, {STOP}).compile(json_grammar(ANY_OBJECT)).start()
    all_tokens = state.allowed_tokens(vocabulary.size)
    padded = state.allowed_tokens(vocabulary.size + 50)
    assert padded.tolist() == [*all_tokens.tolist(), *[False] * 50]
    last = int(torch.nonzero(all_tokens)[-1])
    assert state.allowed_tokens(last + 1).tolist() == all_tokens[: last + 1].tolist()
