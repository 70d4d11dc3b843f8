"""Stop strings: partial matches are held back."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import assert_linear
from worker.inference.stop_strings import StopStrings


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

    def test_of_two_that_end_together_the_longer_one_counts(self) -> None:
        emitted, _ = self.scan(["b", "ab"], ["xab"])
        assert emitted[0] == "x"

    @pytest.mark.parametrize("stop", ["a" * 2000 + "b", "ab" * 1000 + "c"])
    @pytest.mark.parametrize("piece", ["a", "aaaaaaac", "ab" * 8 + "d", "aab"])
    def test_a66_work_is_linear(self, stop: str, piece: str) -> None:
        def prepare(size: int) -> Callable[[], list[str]]:
            scanner = StopStrings([stop, stop[1:]])
            return lambda: [scanner.push(piece) for _ in range(size)]

        assert_linear(prepare)

    def test_a66_a_long_stop_string_is_prepared_in_linear_time(self) -> None:
        def prepare(size: int) -> Callable[[], StopStrings]:
            return lambda: StopStrings(["ab" * size + "ac"])

        assert_linear(prepare)
