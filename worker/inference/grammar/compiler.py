"""Compilation of grammars for one model, cached by what they are made of."""

import threading
from collections.abc import Iterable
from functools import partial
from time import thread_time

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from worker.inference.grammar.cache import GrammarCache
from worker.inference.grammar.error_texts import TOO_MUCH_WORK, explain
from worker.inference.grammar.grammar import Grammar, GrammarDeadEnd
from worker.inference.grammar.tokenizer import make_tokenizer
from worker.inference.vocabulary import Vocabulary

# A mask's worst case is about 20 ms; then the text ends with an error. The states of a grammar,
# which its texts share, take up to 480 MiB: measured with hostile schemas, of which a minLength is
# the worst (180 KiB per token), and a vocabulary of 128,815 tokens.
LIMITS = LLParserLimits(
    initial_lexer_fuel=400_000,
    step_lexer_fuel=50_000,
    step_max_items=10_000,
    max_lexer_states=50_000,
    verbose_errors=False,
)
# Tokens of a text that are tried before a grammar is accepted.
TRIED_TOKENS = 4
# Cost of a character of a source, in characters of a prompt that is rendered.
COST_PER_CHARACTER = 10


class InvalidGrammar(ValueError):
    """A grammar that is invalid, cannot be fulfilled or takes too much work."""


class GrammarCompiler:
    """Compiles grammars in the serialized form of llguidance. Thread-safe."""

    def __init__(self, vocabulary: Vocabulary, stop_ids: Iterable[int]) -> None:
        self._vocabulary = vocabulary
        self._stop_ids = sorted(id for id in set(stop_ids) if id < vocabulary.size)
        self._tokenizer: LLTokenizer | None = None
        self._tokenizer_lock = threading.Lock()
        self._cache: GrammarCache[Grammar] = GrammarCache()

    def find(self, source: str) -> Grammar | None:
        """Return a grammar that was compiled before."""
        return self._cache.find(source)

    def compile(self, source: str) -> Grammar:
        """Compile a grammar, unless it was. Raises InvalidGrammar."""
        grammar = self.find(source)
        if grammar is None:
            started = thread_time()
            grammar = self._compile(source)
            self._cache.keep(source, grammar, thread_time() - started)
        return grammar

    def _compile(self, source: str) -> Grammar:
        tokenizer = self._load_tokenizer()
        matcher = LLMatcher(tokenizer, source, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise InvalidGrammar(explain(matcher.get_error()))
        grammar = Grammar(
            matcher,
            self._stop_ids,
            tokenizer.greedy_tokenize,
            count_work=partial(self._cache.count_work, source),
            forget=partial(self._cache.drop, source),
        )
        try:
            self._try_first_tokens(grammar)
        except GrammarDeadEnd as error:
            reason = str(error)
            is_limit = reason == TOO_MUCH_WORK
            raise InvalidGrammar(
                reason if is_limit else f"no text can fulfil it: {reason}"
            ) from error
        return grammar

    def _try_first_tokens(self, grammar: Grammar) -> None:
        """Compute the first masks of a text. Raises GrammarDeadEnd.

        The first one takes the longest, and tells whether there is any text at all; what explodes
        does so at the first characters of a pattern.
        """
        state = grammar.start()
        for _ in range(TRIED_TOKENS):
            allowed = state.allowed_tokens(self._vocabulary.size)
            # The end of a text is no part of it.
            allowed[self._stop_ids] = False
            if not allowed.any():
                return
            state.advance(int(allowed.nonzero()[0]))
            if state.is_complete:
                return

    def _load_tokenizer(self) -> LLTokenizer:
        with self._tokenizer_lock:
            if self._tokenizer is None:
                self._tokenizer = make_tokenizer(self._vocabulary, self._stop_ids)
            return self._tokenizer
