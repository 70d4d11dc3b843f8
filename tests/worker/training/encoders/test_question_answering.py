"""Contexts longer than a window: answers in any window are found, and so are missing answers."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.errors import InvalidRequest
from app.formats.question_answering import QuestionExample, to_example
from app.recipes.chat import LoraSettings
from app.wire.encoders import InferenceParameters
from app.wire.long_rows import LongRowPolicy
from tests.worker.conftest import WORDS, words_tokenizer
from tests.worker.training.encoders.conftest import MakeEncoder
from worker.encoding.backbone import load_backbone
from worker.encoding.rows.question_answering import build_rows, infer_task
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.encoders import question_answering as questions
from worker.inference.encoders import tasks
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.served_encoder import ServedEncoder
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.training.encoders import long_texts
from worker.training.encoders.data_warnings import answer_length_warnings
from worker.training.encoders.model import Encoder, EncoderWeights
from worker.training.encoders.question_answering import QuestionAnsweringObjective

# Windows of 24 tokens, of which a question of one word leaves 20 for the context.
TASK = EncoderTask(
    method="question_answering", labels=("start", "end"), allow_no_answer=True, max_length=24
)
# The hidden states of a test are its scores of start and end.
HEAD = (torch.eye(2), torch.zeros(2))


def make_example(question: str, context: list[str], answer: str | None) -> QuestionExample:
    text = " ".join(context)
    answered = [] if answer is None else [answer]
    answers = {"text": answered, "answer_start": [text.index(one) for one in answered]}
    return to_example({"context": text, "question": question, "answers": answers})


# Two windows each; the second question's answer is in the second alone.
EXAMPLES = [
    make_example("w1", WORDS[4:34], "w12 w13"),
    make_example("w2", WORDS[59:29:-1], "w35 w34"),
    make_example("w3", [*WORDS[44:], *WORDS[14:28]], None),
]


@pytest.fixture
def encoder(make_encoder: MakeEncoder) -> Encoder:
    """An encoder that has memorized the examples."""
    encoder = make_encoder(TASK)
    # At this width dropout alone would prevent memorization.
    encoder.dropout.p = 0.0
    rows = build_rows(EXAMPLES, TASK, encoder.tokenizer)
    objective = QuestionAnsweringObjective(encoder, EXAMPLES, max_tokens=4096, max_rows=None)
    trained = EncoderWeights(encoder, "tiny", LoraSettings(rank=4, alpha=8)).parameters().values()
    optimizer = torch.optim.AdamW(trained, lr=5e-3)
    for _ in range(50):
        objective.compute_loss(rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return encoder


def test_windows_without_the_answer_have_the_no_answer_target() -> None:
    tokenizer = EncoderTokenizer(words_tokenizer(token_types=True), TASK.max_length)
    rows = build_rows(EXAMPLES, TASK, tokenizer)
    assert [row.example_index for row in rows] == [0, 0, 1, 1, 2, 2]
    first, second = rows[2:4]
    assert first.target.tolist() == [0, 0]
    start, end = second.target
    offsets = second.text.offsets
    assert EXAMPLES[1].context[offsets[start, 0] : offsets[end, 1]] == "w35 w34"
    assert [row.target.tolist() for row in rows[4:]] == [[0, 0], [0, 0]]


def test_a_truncated_question_is_warned_of_once_for_all_its_windows() -> None:
    tokenizer = EncoderTokenizer(words_tokenizer(token_types=True), TASK.max_length)
    long_question = make_example(" ".join(WORDS[:13]), WORDS[4:34], "w12")
    rows = build_rows([*EXAMPLES, long_question], TASK, tokenizer)
    long = long_texts.list_truncated(rows)
    (warning,) = long_texts.warn(long, 4, TASK, "training file", LongRowPolicy.TRUNCATE)
    assert warning == (
        "1 of 4 examples of the training file have a question longer than 12 tokens, half of the "
        "model's 24: examples 4. They are truncated, as texts of requests are."
    )


def test_answers_over_the_default_limit_are_warned_of() -> None:
    """No window contains such an answer completely."""
    tokenizer = EncoderTokenizer(words_tokenizer(token_types=True), TASK.max_length)
    words = [*WORDS, *WORDS]
    long, just = (make_example("w1", words, " ".join(words[9 : 9 + count])) for count in (65, 64))
    examples = [*EXAMPLES, long, just]
    (warning,) = answer_length_warnings("training", examples, build_rows(examples, TASK, tokenizer))
    assert warning == (
        "1 of 5 examples of the training file have an answer of more than 64 tokens, which is "
        "found only by requests with a larger max_answer_len."
    )


def test_whitespace_around_an_answer_is_not_learned() -> None:
    example = to_example(
        {
            "context": "w1 w2 w3",
            "question": "w4",
            "answers": {"text": [" w2 "], "answer_start": [2]},
        }
    )
    (row,) = build_rows(
        [example], TASK, EncoderTokenizer(words_tokenizer(token_types=True), TASK.max_length)
    )
    assert [row.text.offsets[token].tolist() for token in row.target] == [[3, 5], [3, 5]]


def test_an_answer_in_the_second_window_and_no_answer_are_found(encoder: Encoder) -> None:
    rows = build_rows(EXAMPLES, TASK, encoder.tokenizer)
    objective = QuestionAnsweringObjective(encoder, EXAMPLES, max_tokens=4096, max_rows=None)
    report = objective.evaluate(rows)
    assert (report["exact_match"], report["wrong"]) == (1.0, [])
    # Compared with other answers, the report lists the predictions.
    other_answers = [
        replace(example, answers=EXAMPLES[n - 1].answers) for n, example in enumerate(EXAMPLES)
    ]
    objective = QuestionAnsweringObjective(encoder, other_answers, max_tokens=4096, max_rows=None)
    report = objective.evaluate(rows)
    assert [item["found"] for item in report["wrong"]] == ["w12 w13", "w35 w34", ""]


def test_serving_gives_the_answers_of_training(
    encoder: Encoder, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    EncoderWeights(encoder, "tiny", LoraSettings(rank=4, alpha=8)).save(tmp_path)
    cpu = torch.device("cpu")
    base = load_backbone(tiny_encoder_folder, dtype=torch.float32, device=cpu, max_length=64)
    engine = EncoderEngine(
        base, EncoderTokenizer(words_tokenizer(token_types=True), 64), pooling="mean"
    )
    served = ServedEncoder("tuned", engine, engine.load_tuned(tmp_path))

    async def answer(example: QuestionExample, **parameters: Any) -> Any:
        windows = await questions.tokenize_windows(served, example.question, example.context)
        assert len(windows) == 2
        states = await tasks.forward(served, windows, per_token=True)
        options = InferenceParameters(**parameters)
        return questions.extract_answers(served, example.context, windows, states, options)

    answers = [asyncio.run(answer(item)) for item in EXAMPLES]
    ranked = asyncio.run(answer(EXAMPLES[2], top_k=3))
    assert ranked[0] == answers[2]
    assert len({(item["start"], item["end"]) for item in ranked}) == 3, "each once"
    assert ranked == sorted(ranked, key=lambda item: -item["score"])
    answered = asyncio.run(answer(EXAMPLES[2], handle_impossible_answer=False))
    assert answered == ranked[1]
    assert answered["answer"] != ""
    short_answer = asyncio.run(
        answer(EXAMPLES[0], max_answer_len=1, handle_impossible_answer=False)
    )
    assert short_answer["answer"] in ("w12", "w13")
    assert [item["answer"] for item in answers] == ["w12 w13", "w35 w34", ""]
    assert (answers[1]["start"], answers[2]["start"], answers[2]["end"]) == (
        EXAMPLES[1].context.index("w35"),
        0,
        0,
    )
    assert infer_task(EXAMPLES, 24, encoder.tokenizer) == TASK
    long = " ".join(WORDS[:13])
    with pytest.raises(InvalidRequest) as error:
        asyncio.run(questions.tokenize_windows(served, long, EXAMPLES[0].context))
    assert str(error.value) == (
        "This model reads 24 tokens, of which a question may take 12, and inputs.question has 13. "
        "Shorten it, or ask for it to be cut with the parameter truncate."
    )
    assert asyncio.run(questions.tokenize_windows(served, long, EXAMPLES[0].context, truncate=True))


@pytest.mark.parametrize(
    ("answers", "found"), [(["w12", "w1", "w14"], "w1"), (["w12", "w13", "w14"], "w12")]
)
def test_answers_end_inside_words_where_those_of_the_file_do(
    answers: list[str], found: str
) -> None:
    tokenizer = EncoderTokenizer(words_tokenizer(token_types=True), 24)
    examples = [make_example("w1", ["w12", "w13", "w14"], answer) for answer in answers]
    task = infer_task(examples, 24, tokenizer)
    (window,) = tokenizer.tokenize_windows("w1", "w12 w13", overlap=0)
    # As if the tokenizer had cut the first word of the context into two pieces.
    window.offsets[window.pair_start] = (0, 2)
    logits = torch.zeros(len(window.ids), 2)
    logits[window.pair_start] = 9.0
    served = ServedEncoder("tuned", Any, TunedEncoder(task, None, None, HEAD))  # type: ignore[arg-type]
    answer = questions.extract_answers(served, "w12 w13", [window], [logits])
    assert isinstance(answer, dict)
    assert answer["answer"] == found
    options = InferenceParameters(align_to_words=found == "w1")
    other = questions.extract_answers(served, "w12 w13", [window], [logits], options)
    assert isinstance(other, dict)
    assert {found, other["answer"]} == {"w1", "w12"}
