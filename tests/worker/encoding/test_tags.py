"""BIO tags: entities to tags and back."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats.token_classification import EntitySpan, entities_from_tags
from app.formats.word_boundaries import find_words
from tests.growth import assert_linear
from worker.encoding.segmentation import Units
from worker.encoding.tags import bio_tag_names, count_unspelled, expand_unit_tags, unit_tags

TEXT = "In New York-City"
WORDS = find_words(TEXT)


def test_entities_survive_a_round_trip_through_tags() -> None:
    entities = (EntitySpan(3, 11, "place"), EntitySpan(12, 16, "word"))
    tags = unit_tags(entities, WORDS)
    assert tags == ["O", "B-place", "I-place", "O", "B-word"]
    assert entities_from_tags([tag or "" for tag in tags], WORDS) == entities


@pytest.mark.parametrize("span", [(4, 11), (3, 10), (5, 6), (9, 13)])
def test_an_entity_that_cuts_a_word_is_not_widened_but_left_out(span: tuple[int, int]) -> None:
    entity = EntitySpan(*span, "place")
    tags = unit_tags([entity], WORDS)
    assert {tag for tag in tags if tag != "O"} == {None}
    units = Units(WORDS, np.arange(len(WORDS), dtype=np.int32))
    assert count_unspelled([entity], units, is_complete=True) == 1
    assert count_unspelled([EntitySpan(3, 11, "place")], units, is_complete=True) == 0


def test_a_second_entity_in_a_word_does_not_replace_the_first() -> None:
    assert unit_tags([EntitySpan(3, 5, "a"), EntitySpan(5, 6, "b")], WORDS)[1] is None


def test_entities_beyond_a_truncated_text_are_not_counted_as_cut() -> None:
    units = Units([(0, 2), (3, 6)], np.array([1, 2], dtype=np.int32))
    entities = [EntitySpan(7, 11, "a"), EntitySpan(3, 11, "a")]
    assert count_unspelled(entities, units, is_complete=False) == 0
    assert count_unspelled(entities, units, is_complete=True) == 2


def test_units_without_a_token_belong_to_the_surrounding_entity() -> None:
    begins = np.array([-1, 1, -1, -1, 2, -1, 3, -1, 4, -1, 5, -1], dtype=np.int32)
    units = Units([(n, n + 1) for n in range(len(begins))], begins)
    tags = expand_unit_tags(["B-a", "I-a", "I-b", "I-b", "O"], units)
    assert tags == ["O", "B-a", "I-a", "I-a", "I-a", "O", "I-b", "I-b", "I-b", "O", "O", "O"]


def test_each_label_has_two_tags_and_no_label_has_one() -> None:
    assert bio_tag_names(["a", "b"]) == ("O", "B-a", "I-a", "B-b", "I-b")


@given(
    unit_edges=st.sets(st.integers(0, 40), max_size=20),
    entity_edges=st.sets(st.integers(0, 40), max_size=20),
)
def test_exactly_the_entities_that_units_spell_are_read_back_from_the_tags(
    unit_edges: set[int], entity_edges: set[int]
) -> None:
    units = _pair_up(sorted(unit_edges))
    entities = [EntitySpan(*span, f"e{n}") for n, span in enumerate(_pair_up(sorted(entity_edges)))]
    starts, ends = {start for start, _ in units}, {end for _, end in units}
    spelled = tuple(e for e in entities if e.start in starts and e.end in ends)
    tags = [tag or "O" for tag in unit_tags(entities, units)]
    assert entities_from_tags(tags, units) == spelled


def test_a52_tagging_is_linear() -> None:
    def prepare(size: int) -> Callable[[], object]:
        words = [(3 * n, 3 * n + 2) for n in range(size)]
        entities = [EntitySpan(start, end, "a") for start, end in words]
        return lambda: unit_tags(entities, words)

    assert_linear(prepare)


def _pair_up(edges: list[int]) -> list[tuple[int, int]]:
    return list(zip(edges[::2], edges[1::2], strict=False))
