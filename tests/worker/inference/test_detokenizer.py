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
    def test_half_characters_are_held_back(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        ids = ids_of(tokenizer, "a€🙂")
        assert len(ids) == 1 + 3 + 4, "each byte is a token here"
        assert [detokenizer.push(id) for id in ids] == ["a", "", "", "€", "", "", "", "🙂"]
        assert detokenizer.flush() == ""

    def test_a_character_that_is_cut_short_comes_out_at_the_end(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        pieces = [detokenizer.push(id) for id in ids_of(tokenizer, "x🙂")[:-1]]
        assert "".join(pieces) == "x"
        assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"
        assert detokenizer.flush() == ""

    def test_broken_bytes_do_not_hold_back_what_follows(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        ids = ids_of(tokenizer, "🙂")[:2] + ids_of(tokenizer, "ab")
        assert [detokenizer.push(id) for id in ids] == ["", "", "\N{REPLACEMENT CHARACTER}a", "b"]

    def test_special_tokens_are_no_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = Detokenizer(vocabulary.decode)
        ids = [*ids_of(tokenizer, "a"), tokenizer.eos_token_id, *ids_of(tokenizer, "b")]
        assert [detokenizer.push(id) for id in ids] == ["a", "", "b"]

    @given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_pieces_make_the_whole(self, text: str) -> None:
        from_utf8 = Detokenizer(lambda ids: bytes(ids).decode(errors="replace"))
        pieces = [from_utf8.push(byte) for byte in text.encode()]
        assert "".join(pieces) + from_utf8.flush() == text

    def test_a_leading_space_that_a_tokenizer_drops_at_the_start_only(self) -> None:
        # As sentencepiece tokenizers do it.
        words = ["▁Hello", "▁big", "▁world"]
        detokenizer = Detokenizer(
            lambda ids: "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")
        )
        assert [detokenizer.push(id) for id in range(3)] == ["Hello", " big", " world"]


class TestStopStrings:
    def run(self, stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
        scanner = StopStrings(stops)
        given = []
        for piece in pieces:
            given.append(scanner.push(piece))
            if scanner.has_matched:
                break
        return [*given, scanner.flush()], scanner.has_matched

    def test_one_that_is_split_over_pieces(self) -> None:
        given, found = self.run(["STOP"], ["say S", "T", "OP it"])
        assert given == ["say ", "", "", ""]
        assert found

    def test_a_false_beginning_is_given_out_later(self) -> None:
        given, found = self.run(["STOP"], ["ST", "ep", "S"])
        assert given == ["", "STep", "", "S"]
        assert not found

    def test_a_beginning_within_a_false_beginning(self) -> None:
        given, found = self.run(["aab"], ["a", "a", "a", "b"])
        assert "".join(given) == "a"
        assert found

    def test_the_first_in_the_text_wins_not_the_first_in_the_list(self) -> None:
        given, _ = self.run(["late", "early"], ["so early or late"])
        assert given[0] == "so "

    def test_none_gives_all_at_once(self) -> None:
        given, found = self.run([], ["a", "b"])
        assert given == ["a", "b", ""]
        assert not found

    @given(
        text=st.text("ab", max_size=30),
        stop=st.text("ab", min_size=1, max_size=4),
        cuts=st.lists(st.integers(0, 30)),
    )
    def test_is_the_same_for_every_cutting(self, text: str, stop: str, cuts: list[int]) -> None:
        edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        pieces = [text[a:b] for a, b in pairwise(edges)]
        given, found = self.run([stop], pieces)
        assert "".join(given) == text.partition(stop)[0]
        assert found == (stop in text)


class TestVocabulary:
    @pytest.mark.parametrize("text", ["hello", " x", "ü", "🙂", "\n\n", "\x00\x7f"])
    def test_the_bytes_of_tokens_are_the_bytes_of_the_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, text: str
    ) -> None:
        joined = b"".join(vocabulary.token_bytes(id) for id in ids_of(tokenizer, text))
        assert joined == text.encode()

    def test_special_tokens_are_spelled_as_they_are(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        assert vocabulary.token_bytes(int(tokenizer.eos_token_id)) == b"<|im_end|>"
