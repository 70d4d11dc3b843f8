"""The text of a choice: deltas, log-probabilities and stop strings."""

from transformers import PreTrainedTokenizerFast

from worker.inference.choice_text import ChoiceText
from worker.inference.messages import Logprobs, Token
from worker.inference.vocabulary import Vocabulary


class TextFeeder:
    """Feeds a text to a choice, token by token, and collects the deltas."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *stops: str) -> None:
        self.choice = ChoiceText(Vocabulary(tokenizer), stops)
        self.tokenizer = tokenizer
        self.deltas: list[tuple[str, str]] = []

    def feed(self, text: str, *, drop: int = 0) -> None:
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        for id in ids[: len(ids) - drop]:
            if self.choice.has_stopped:
                break
            self._record(self.choice.push(Token(0, id, Logprobs(-0.5, ((id, -0.5), (7, -2.0))))))
        self._record(self.choice.finish())

    def _record(self, delta: object) -> None:
        text = delta.text  # type: ignore[attr-defined]
        tokens = delta.logprobs  # type: ignore[attr-defined]
        data = b"".join(bytes(token.bytes) for token in tokens)
        self.deltas.append((text, data.decode(errors="replace")))

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.deltas)

    @property
    def tokens(self) -> str:
        return "".join(tokens for _, tokens in self.deltas)


def test_logprobs_are_emitted_with_their_text(tokenizer: PreTrainedTokenizerFast) -> None:
    feeder = TextFeeder(tokenizer)
    feeder.feed("a🙂b")
    assert feeder.deltas == [
        ("a", "a"),
        ("", ""),
        ("", ""),
        ("", ""),
        ("🙂", "🙂"),
        ("b", "b"),
        ("", ""),
    ]


def test_a_stop_string_is_emitted_neither_as_text_nor_as_tokens(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    feeder = TextFeeder(tokenizer, "END")
    feeder.feed("so END more")
    assert feeder.text == "so "
    assert feeder.tokens == "so "
    assert feeder.choice.has_stopped


def test_a_partial_stop_string_is_emitted_at_the_end(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    feeder = TextFeeder(tokenizer, "END")
    feeder.feed("xEN")
    assert feeder.text == "xEN"
    assert feeder.tokens == "xEN"
    assert not feeder.choice.has_stopped


def test_a_stop_string_that_ends_in_an_incomplete_character(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    feeder = TextFeeder(tokenizer, "\N{REPLACEMENT CHARACTER}")
    feeder.feed("x🙂", drop=1)
    assert feeder.text == "x"
    assert feeder.choice.has_stopped, "it is found only when no more tokens can come"


def test_each_token_has_text_and_bytes(tokenizer: PreTrainedTokenizerFast) -> None:
    choice = ChoiceText(Vocabulary(tokenizer), [])
    (id,) = tokenizer.encode("h", add_special_tokens=False)
    (entry,) = choice.push(Token(0, id, Logprobs(-0.5, ((id, -0.5), (2, -2.0))))).logprobs
    assert (entry.token, entry.logprob, entry.bytes) == ("h", -0.5, [104])
    assert [(top.token, top.logprob) for top in entry.top_logprobs] == [
        ("h", -0.5),
        ("<|im_end|>", -2.0),
    ]
