"""Detokenization: incomplete characters and partial stop strings are held back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from worker.inference.detokenizer import Detokenizer, StopStrings
from worker.inference.vocabulary import Vocabulary


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


class TestDetokenizer:
    def test_incomplete_characters_are_held_back(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        ids = ids_of(tokenizer, "a€🙂")
        assert len(ids) == 1 + 3 + 4, "each byte is a token here"
        assert [detokenizer.push(id) for id in ids] == ["a", "", "", "€", "", "", "", "🙂"]
        assert detokenizer.flush() == ""

    def test_an_incomplete_character_is_flushed_at_the_end(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        pieces = [detokenizer.push(id) for id in ids_of(tokenizer, "x🙂")[:-1]]
        assert "".join(pieces) == "x"
        assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"
        assert detokenizer.flush() == ""

    def test_invalid_bytes_do_not_hold_back_later_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        ids = ids_of(tokenizer, "🙂")[:2] + ids_of(tokenizer, "ab")
        assert [detokenizer.push(id) for id in ids] == ["", "", "\N{REPLACEMENT CHARACTER}a", "b"]

    def test_special_tokens_are_not_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        ids = [*ids_of(tokenizer, "a"), tokenizer.eos_token_id, *ids_of(tokenizer, "b")]
        assert [detokenizer.push(id) for id in ids] == ["a", "", "b"]

    @given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_deltas_join_to_the_whole_text(self, text: str) -> None:
        from_utf8 = Detokenizer(lambda ids: bytes(ids).decode(errors="replace"))
        pieces = [from_utf8.push(byte) for byte in text.encode()]
        assert "".join(pieces) + from_utf8.flush() == text

    def test_a_leading_space_is_dropped_at_the_start_only(self) -> None:
        # As sentencepiece tokenizers do it.
        words = ["▁Hello", "▁big", "▁world"]
        detokenizer = Detokenizer(
            lambda ids: "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")
        )
        assert [detokenizer.push(id) for id in range(3)] == ["Hello", " big", " world"]


class TestStopStrings:
    def scan(self, stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
        scanner = StopStrings(stops)
        emitted = []
        for piece in pieces:
            emitted.append(scanner.push(piece))
            if scanner.has_matched:
                break
        return [*emitted, scanner.flush()], scanner.has_matched

    def test_a_stop_string_split_over_deltas(self) -> None:
        emitted, has_matched = self.scan(["STOP"], ["say S", "T", "OP it"])
        assert emitted == ["say ", "", "", ""]
        assert has_matched

    def test_a_false_start_is_emitted_later(self) -> None:
        emitted, has_matched = self.scan(["STOP"], ["ST", "ep", "S"])
        assert emitted == ["", "STep", "", "S"]
        assert not has_matched

    def test_a_start_inside_of_a_false_start(self) -> None:
        emitted, has_matched = self.scan(["aab"], ["a", "a", "a", "b"])
        assert "".join(emitted) == "a"
        assert has_matched

    def test_the_first_match_in_the_text_wins(self) -> None:
        emitted, _ = self.scan(["late", "early"], ["so early or late"])
        assert emitted[0] == "so "

    def test_without_stop_strings_nothing_is_held_back(self) -> None:
        emitted, has_matched = self.scan([], ["a", "b"])
        assert emitted == ["a", "b", ""]
        assert not has_matched

    @given(
        text=st.text("ab", max_size=30),
        stop=st.text("ab", min_size=1, max_size=4),
        cuts=st.lists(st.integers(0, 30)),
    )
    def test_the_result_does_not_depend_on_the_split(
        self, text: str, stop: str, cuts: list[int]
    ) -> None:
        edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        pieces = [text[a:b] for a, b in pairwise(edges)]
        emitted, has_matched = self.scan([stop], pieces)
        assert "".join(emitted) == text.partition(stop)[0]
        assert has_matched == (stop in text)


class TestVocabulary:
    @pytest.mark.parametrize("text", ["hello", " x", "ü", "🙂", "\n\n", "\x00\x7f"])
    def test_token_bytes_join_to_the_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, text: str
    ) -> None:
        joined = b"".join(vocabulary.token_bytes(id) for id in ids_of(tokenizer, text))
        assert joined == text.encode()

    def test_the_bytes_of_a_special_token_are_its_name(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        assert vocabulary.token_bytes(int(tokenizer.eos_token_id)) == b"<|im_end|>"
