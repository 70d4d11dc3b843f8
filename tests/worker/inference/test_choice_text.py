from transformers import PreTrainedTokenizerFast

from worker.inference.choice_text import ChoiceText
from worker.inference.messages import Logprobs, Token
from worker.inference.vocabulary import Vocabulary


class Reader:
    """Feeds a text to a choice, token by token, and collects what comes out."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *stops: str) -> None:
        self.choice = ChoiceText(Vocabulary(tokenizer), stops)
        self.tokenizer = tokenizer
        self.pieces: list[tuple[str, str]] = []

    def read(self, text: str, *, leave_out: int = 0) -> None:
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        for id in ids[: len(ids) - leave_out]:
            if self.choice.has_stopped:
                break
            self._keep(self.choice.push(Token(0, id, Logprobs(-0.5, ((id, -0.5), (7, -2.0))))))
        self._keep(self.choice.finish())

    def _keep(self, piece: object) -> None:
        text = piece.text  # type: ignore[attr-defined]
        tokens = piece.logprobs  # type: ignore[attr-defined]
        spelled = b"".join(bytes(token.bytes) for token in tokens)
        self.pieces.append((text, spelled.decode(errors="replace")))

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)

    @property
    def tokens(self) -> str:
        return "".join(tokens for _, tokens in self.pieces)


def test_tokens_appear_with_their_text(tokenizer: PreTrainedTokenizerFast) -> None:
    reader = Reader(tokenizer)
    reader.read("a🙂b")
    assert reader.pieces == [
        ("a", "a"),
        ("", ""),
        ("", ""),
        ("", ""),
        ("🙂", "🙂"),
        ("b", "b"),
        ("", ""),
    ]


def test_a_stop_string_is_neither_text_nor_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    reader = Reader(tokenizer, "END")
    reader.read("so END more")
    assert reader.text == "so "
    assert reader.tokens == "so "
    assert reader.choice.has_stopped


def test_what_looked_like_a_stop_string_comes_late_but_whole(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    reader = Reader(tokenizer, "END")
    reader.read("xEN")
    assert reader.text == "xEN"
    assert reader.tokens == "xEN"
    assert not reader.choice.has_stopped


def test_a_stop_string_that_ends_in_a_half_character(tokenizer: PreTrainedTokenizerFast) -> None:
    reader = Reader(tokenizer, "\N{REPLACEMENT CHARACTER}")
    reader.read("x🙂", leave_out=1)
    assert reader.text == "x"
    assert reader.choice.has_stopped, "it was found only when nothing more could come"


def test_each_token_is_spelled_in_letters_and_bytes(tokenizer: PreTrainedTokenizerFast) -> None:
    choice = ChoiceText(Vocabulary(tokenizer), [])
    (id,) = tokenizer.encode("h", add_special_tokens=False)
    (entry,) = choice.push(Token(0, id, Logprobs(-0.5, ((id, -0.5), (2, -2.0))))).logprobs
    assert (entry.token, entry.logprob, entry.bytes) == ("h", -0.5, [104])
    assert [(top.token, top.logprob) for top in entry.top_logprobs] == [
        ("h", -0.5),
        ("<|im_end|>", -2.0),
    ]
