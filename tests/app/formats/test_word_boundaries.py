"""Word boundaries in any script, with combining marks."""

import pytest

from app.formats.word_boundaries import find_words, is_inside_word, join_tokens

TEXTS = [
    ("In New York-City", ["In", "New", "York", "-", "City"]),
    ("at Cafe\u0301 Noir", ["at", "Cafe\u0301", "Noir"]),
    ("de\u0301ja\u0300-vu", ["de\u0301ja\u0300", "-", "vu"]),
    ("हिन्दी विश्वविद्यालय", ["हिन्दी", "विश्वविद्यालय"]),
    ("क्\u200dष a\u200cb", ["क्\u200dष", "a\u200cb"]),
    ("I \u2764\ufe0fParis", ["I", "\u2764\ufe0f", "Paris"]),
    ("\U0001f469\u200d\U0001f680 up", ["\U0001f469\u200d\U0001f680", "up"]),
    ("a \u0301b", ["a", "\u0301", "b"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_marks_belong_to_their_base_character(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in find_words(text)] == expected


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_positions_inside_words(text: str, expected: list[str]) -> None:
    inside = {at for start, end in find_words(text) for at in range(start + 1, end)}
    assert {at for at in range(-1, len(text) + 2) if is_inside_word(text, at)} == inside


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["In", "U.S.", "."], "In U.S. ."),
        (["東", "京", "的", "Apple", "Store", "\uff0c", "2", "号"], "東京的Apple Store\uff0c2号"),
        (["ไป", "กรุงเทพ"], "ไปกรุงเทพ"),
        (["カナ", "へ", "行く", "。"], "カナへ行く。"),
        (["서울", "에", "간다"], "서울 에 간다"),
        (["one"], "one"),
    ],
)
def test_tokens_are_joined_as_their_script_is_written(tokens: list[str], text: str) -> None:
    joined, spans = join_tokens(tokens)
    assert joined == text
    assert [joined[start:end] for start, end in spans] == tokens
