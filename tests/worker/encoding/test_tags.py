"""BIO tags: first tokens of words, and entities to tags and back."""

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.formats.token_classification import EntitySpan, entities_from_tags
from app.formats.word_boundaries import find_words
from tests.growth import assert_linear
from worker.encoding.tags import bio_tag_names, expand_word_tags, first_tokens, word_tags

TEXT = "In New York-City"
WORDS = find_words(TEXT)


def test_each_word_has_its_first_token() -> None:
    offsets = np.array([(0, 0), (0, 2), (3, 5), (5, 6), (7, 11), (11, 12), (12, 16), (0, 0)])
    assert [TEXT[start:end] for start, end in WORDS] == ["In", "New", "York", "-", "City"]
    assert first_tokens(offsets.astype(np.int32), WORDS).tolist() == [1, 2, 4, 5, 6]


def test_truncated_words_have_no_token() -> None:
    offsets = np.array([(0, 0), (0, 2), (3, 6), (0, 0)], dtype=np.int32)
    assert first_tokens(offsets, WORDS).tolist() == [1, 2, -1, -1, -1]


def test_entities_survive_a_round_trip_through_tags() -> None:
    entities = (EntitySpan(3, 11, "place"), EntitySpan(12, 16, "word"))
    tags = word_tags(entities, WORDS)
    assert tags == ["O", "B-place", "I-place", "O", "B-word"]
    assert entities_from_tags(tags, WORDS) == entities


def test_words_without_a_token_belong_to_the_surrounding_entity() -> None:
    begins = np.array([-1, 1, -1, -1, 2, -1, 3, -1, 4, -1, 5, -1], dtype=np.int32)
    tags = expand_word_tags(["B-a", "I-a", "I-b", "I-b", "O"], begins)
    assert tags == ["O", "B-a", "I-a", "I-a", "I-a", "O", "I-b", "I-b", "I-b", "O", "O", "O"]


def test_each_label_has_two_tags_and_no_label_has_one() -> None:
    assert bio_tag_names(["a", "b"]) == ("O", "B-a", "I-a", "B-b", "I-b")


@given(
    word_edges=st.sets(st.integers(0, 40), max_size=20),
    entity_edges=st.sets(st.integers(0, 40), max_size=20),
)
def test_each_word_has_the_tag_of_the_last_entity_that_overlaps_it(
    word_edges: set[int], entity_edges: set[int]
) -> None:
    words = _pair_up(sorted(word_edges))
    entities = [EntitySpan(*span, f"e{n}") for n, span in enumerate(_pair_up(sorted(entity_edges)))]
    for (start, end), tag in zip(words, word_tags(entities, words), strict=True):
        overlapping = [e.label for e in entities if start < e.end and end > e.start]
        assert tag.removeprefix("B-").removeprefix("I-") == [*["O"], *overlapping][-1]


def test_a52_tagging_is_linear() -> None:
    def prepare(size: int) -> Callable[[], object]:
        words = [(3 * n, 3 * n + 2) for n in range(size)]
        entities = [EntitySpan(start, end, "a") for start, end in words]
        return lambda: word_tags(entities, words)

    assert_linear(prepare)


def _pair_up(edges: list[int]) -> list[tuple[int, int]]:
    return list(zip(edges[::2], edges[1::2], strict=False))
