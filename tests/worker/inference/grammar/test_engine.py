"""Grammars in the engine: rows that cannot go on, preempted rows, and sampling under a mask."""

import json
import random
from typing import Any

import pytest
import torch
from llguidance import LLMatcher, LLParserLimits

from app.errors import InvalidRequest
from tests.worker.inference.test_engine import (
    END,
    GREEDY,
    VOCAB_SIZE,
    RecordedRequest,
    generate,
    run_until_idle,
)
from worker.inference import sampling
from worker.inference.engine import Engine
from worker.inference.grammar import compiler as compiler_module
from worker.inference.grammar.compiler import GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import Grammar, GrammarDeadEnd
from worker.inference.grammar.json_schema import ANY_OBJECT, json_grammar
from worker.inference.grammar.lark import write_json
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.messages import Failed, Finished, SamplingParams
from worker.inference.sampling import Sampler
from worker.inference.vocabulary import Vocabulary

SCHEMA = {
    "type": "object",
    "properties": {"word": {"enum": ["hello hello hello", "help"]}, "n": {"enum": [1, 12, 123]}},
    "required": ["word", "n"],
    "additionalProperties": False,
}
# Each token adds states until there are too many.
ENDLESS = {"type": "string", "pattern": r"^(.|\n)*a(.|\n){200}$"}


@pytest.fixture
def engine(decoder: LlamaDecoder) -> Engine:
    return Engine(decoder, vocab_size=VOCAB_SIZE)


@pytest.fixture
def compiler(vocabulary: Vocabulary) -> GrammarCompiler:
    return GrammarCompiler(vocabulary, {END})


@pytest.fixture
def grammar(compiler: GrammarCompiler) -> Grammar:
    return compiler.compile(json_grammar(SCHEMA))


def greedy(grammar: Grammar) -> SamplingParams:
    return SamplingParams(temperature=0, grammar=grammar)


def test_a_row_without_a_next_token_fails_alone(
    engine: Engine, compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence, and neither a crash of the engine nor another row's end."""
    monkeypatch.setattr(compiler_module, "LIMITS", LLParserLimits(max_lexer_states=100))
    endless = compiler.compile(json_grammar(ENDLESS))
    alone = generate(engine, [5, 9], max_new_tokens=200, stop_ids=frozenset())
    neighbour = RecordedRequest([5, 9], max_new_tokens=200, stop_ids=frozenset())
    stuck = RecordedRequest(
        [7, 8], max_new_tokens=400, sampling=SamplingParams(seed=1, grammar=endless), num_choices=2
    )
    run_until_idle(engine, stuck, neighbour)
    assert neighbour.ids() == alone
    (failed,) = stuck.ends
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRequest)
    assert failed.error.error_param == "response_format"
    assert "cannot be continued" in failed.error.message
    assert stuck.ids()


def test_preempted_rows_keep_their_place_in_the_grammar(
    decoder: LlamaDecoder, grammar: Grammar, vocabulary: Vocabulary
) -> None:
    """Two slots, four rows of one project, and rows of another that take turns with them."""
    engine = Engine(decoder, vocab_size=VOCAB_SIZE, max_rows=2)
    alone = generate(engine, [5, 9], max_new_tokens=90, sampling=greedy(grammar))
    assert set(json.loads(vocabulary.decode(alone))) == {"word", "n"}
    preempt, preempted = engine.scheduler._preempt, []
    engine.scheduler._preempt = lambda *args: (preempted.append(args), preempt(*args))[1]  # type: ignore[method-assign, func-returns-value]
    first = RecordedRequest(
        [5, 9], max_new_tokens=90, sampling=greedy(grammar), num_choices=4, project="a"
    )
    engine.submit(first.request)
    for _ in range(6):
        engine.step()
    second = RecordedRequest([5, 9], max_new_tokens=90, sampling=greedy(grammar), project="b")
    run_until_idle(engine, second)
    assert preempted
    assert [first.ids(choice) for choice in range(4)] == [alone] * 4
    assert second.ids() == alone
    assert all(isinstance(end, Finished) and end.reason == "stop" for end in first.ends)


def test_a_row_knows_the_work_of_its_grammar(engine: Engine, grammar: Grammar) -> None:
    """Which the scheduler counts as its project's."""
    constrained = RecordedRequest([5, 9], max_new_tokens=30, sampling=greedy(grammar))
    free = RecordedRequest([5, 9], max_new_tokens=30)
    for request in (constrained, free):
        engine.submit(request.request)
    for _ in range(4):
        engine.step()
    seconds = {row.request: row.sampler.grammar_seconds for row in engine.scheduler.running}
    assert seconds[constrained.request] > 0
    assert seconds[free.request] == 0


def test_rounding_never_draws_what_is_ruled_out(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uniform number so near to 1 that its part of the total is the total."""
    grammar = compiler.compile(json_grammar(ANY_OBJECT))
    sampler = Sampler(SamplingParams(grammar=grammar), 0)
    monkeypatch.setattr(sampler._random, "random", lambda: 1 - 2**-53)
    sampler.prepare(VOCAB_SIZE)
    allowed = grammar.start().allowed_tokens(VOCAB_SIZE)
    ((token, _),) = sampling.sample(torch.zeros(1, VOCAB_SIZE), [sampler])
    assert allowed[token]


def test_a_free_row_is_sampled_as_without_the_other(grammar: Grammar) -> None:
    logits = torch.randn(2, VOCAB_SIZE, generator=torch.Generator().manual_seed(0))
    free, bound = Sampler(GREEDY, 0), Sampler(greedy(grammar), 0)
    bound.prepare(VOCAB_SIZE)
    (token, _), (bound_token, _) = sampling.sample(logits.clone(), [free, bound])
    assert token == int(logits[0].argmax())
    assert grammar.start().allowed_tokens(VOCAB_SIZE)[bound_token]


def test_a_pattern_that_explodes_at_its_first_characters_is_refused(
    compiler: GrammarCompiler,
) -> None:
    source = json_grammar({"type": "string", "pattern": "^(a{1000}){1000}$"})
    with pytest.raises(InvalidGrammar, match="it takes too much work") as raised:
        compiler.compile(source)
    assert "maxLength" in str(raised.value)
    assert "lexer" not in str(raised.value)


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"type": "bogus"}, "Invalid type: bogus"),
        ({"type": "array", "minItems": 5, "maxItems": 2}, "minItems (5) is greater"),
        ({"enum": []}, "anyOf is empty"),
    ],
)
def test_an_error_is_about_the_schema_alone(
    compiler: GrammarCompiler, schema: Any, sentence: str
) -> None:
    for source in (
        json_grammar(schema),
        LLMatcher.grammar_from_lark(f"start: {write_json(schema)}"),
    ):
        with pytest.raises(InvalidGrammar) as raised:
            compiler.compile(source)
        assert sentence in str(raised.value)
        assert "start:" not in str(raised.value)
        assert "failed to compile" not in str(raised.value)


def test_a_grammar_that_has_failed_is_compiled_anew(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All texts of one share a lexer: after a limit, each new one would fail too."""
    monkeypatch.setattr(compiler_module, "LIMITS", LLParserLimits(max_lexer_states=100))
    source = json_grammar(ENDLESS)
    first = compiler.compile(source)
    with pytest.raises(GrammarDeadEnd, match="too much work"):
        write_at_random(first)
    assert compiler.find(source) is None
    again = compiler.compile(source)
    assert again is not first
    again.start().allowed_tokens(VOCAB_SIZE)


def write_at_random(grammar: Grammar) -> None:
    state, rng = grammar.start(), random.Random(1)
    for _ in range(1000):
        allowed = state.allowed_tokens(VOCAB_SIZE)
        allowed[END] = False
        state.advance(rng.choice(allowed.nonzero().flatten().tolist()))
