"""Conversion of one row of a layout to the rows of a training file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.formats.conversion.conversations import convert_conversation
from app.formats.errors import InvalidExample, escape_for_message, json_type_name
from app.formats.layouts import (
    ALPACA_COLUMNS,
    PAIR_COLUMNS,
    Layout,
    find_labelled_columns,
    find_pair_columns,
)

Row = Mapping[str, Any]
SQUAD_COLUMNS = ("id", "context", "question", "answers")


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """Choices of the user.

    `rename` maps columns of the file to those of a layout. `label_names` are the names of the
    labels 0, 1, 2, … where the file has numbers.
    """

    rename: Mapping[str, str]
    label_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RowConverter:
    """Converts the rows of a layout; columns that `columns` does not have are left out."""

    columns: frozenset[str]
    convert: Callable[[Row, ConversionOptions], Iterator[dict[str, Any]]]


def convert_alpaca(row: Row, _options: ConversionOptions) -> Iterator[dict[str, Any]]:
    """Convert an instruction with its input and output, and the turns before it, if any."""
    instruction, input, output = next(
        (columns for columns in ALPACA_COLUMNS if columns[2] in row), ALPACA_COLUMNS[0]
    )
    messages = _system_message(row)
    for turn in row.get("history") or ():
        if not isinstance(turn, list) or len(turn) != 2:
            raise InvalidExample(": history is not a list of pairs", "Write [question, answer].")
        messages += _turn(_text(turn[0], "history"), _text(turn[1], "history"))
    question = _text(row[instruction], instruction)
    if row.get(input):
        question += f"\n\n{_text(row[input], input)}"
    yield {"messages": [*messages, *_turn(question, _text(row[output], output))]}


def convert_pairs(row: Row, _options: ConversionOptions) -> Iterator[dict[str, Any]]:
    """Convert a request and its answer."""
    columns = find_pair_columns(row)
    if columns is None:
        raise InvalidExample(" lacks the request or its answer", "Give each row both texts.")
    yield {"messages": [*_system_message(row), *_turn(row[columns[0]], row[columns[1]])]}


def convert_chosen_rejected(row: Row, _options: ConversionOptions) -> Iterator[dict[str, Any]]:
    """Convert a preference whose prompt and answers are texts or lists of messages."""
    chosen, rejected = (_to_messages(row[key], key, "assistant") for key in ("chosen", "rejected"))
    if row.get("prompt"):
        prompt = _to_messages(row["prompt"], "prompt", "user")
        # Some datasets repeat the prompt before the answers.
        chosen, rejected = (
            answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer
            for answer in (chosen, rejected)
        )
    else:
        shared = _shared_length(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if not prompt or len(chosen) != 1 or len(rejected) != 1:
        raise InvalidExample(
            ": chosen and rejected do not differ in one answer to the same prompt",
            "Give a prompt, and one answer each in chosen and rejected.",
        )
    yield {
        "input": {"messages": [*_system_message(row), *prompt]},
        "preferred_output": chosen,
        "non_preferred_output": rejected,
    }


def convert_squad(row: Row, _options: ConversionOptions) -> Iterator[dict[str, Any]]:
    """Convert a document, an article, or a question with a list of answers."""
    if isinstance(row.get("answers"), list):
        yield _question(row["context"], row["question"], row["answers"])
        return
    for article in _list(row, "data") if "data" in row else [row]:
        for paragraph in _list(article, "paragraphs"):
            for question in _list(paragraph, "qas"):
                answers = [] if question.get("is_impossible") else _list(question, "answers")
                yield _question(paragraph.get("context"), question.get("question"), answers)


def convert_labelled(row: Row, options: ConversionOptions) -> Iterator[dict[str, Any]]:
    """Convert a text and its label; a number becomes the label's name, or its digits."""
    text, label = find_labelled_columns(row)
    if text is None or label is None:
        raise InvalidExample(" lacks the text or its label", "Give each row both.")
    value = row[label]
    if isinstance(value, list):
        yield {"text": row[text], "labels": [_label(item, options) for item in value]}
    else:
        yield {"text": row[text], "label": _label(value, options)}


def convert_sharegpt(row: Row, _options: ConversionOptions) -> Iterator[dict[str, Any]]:
    """Convert a conversation of `from` and `value`."""
    yield convert_conversation(row)


CONVERTERS: Mapping[Layout, RowConverter] = {
    Layout.ALPACA: RowConverter(
        frozenset(("system", "history", *(name for names in ALPACA_COLUMNS for name in names))),
        convert_alpaca,
    ),
    Layout.SHAREGPT: RowConverter(
        frozenset(("conversations", "system", "tools")), convert_sharegpt
    ),
    Layout.CHOSEN_REJECTED: RowConverter(
        frozenset(("system", "prompt", "chosen", "rejected")), convert_chosen_rejected
    ),
    Layout.PAIRS: RowConverter(
        frozenset(("system", *(name for names in PAIR_COLUMNS for name in names))),
        convert_pairs,
    ),
    Layout.SQUAD: RowConverter(
        frozenset(("version", "data", "title", "paragraphs", *SQUAD_COLUMNS)),
        convert_squad,
    ),
    Layout.LABELLED: RowConverter(frozenset(), convert_labelled),
}


def _system_message(row: Row) -> list[dict[str, Any]]:
    if not row.get("system"):
        return []
    return [{"role": "system", "content": _text(row["system"], "system")}]


def _turn(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _text(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidExample(f": {column} is {json_type_name(value)}", "Write a text.")


def _to_messages(value: Any, column: str, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise InvalidExample(
            f": {column} is {json_type_name(value)}", "Write a text, or a list of messages."
        )
    return [{"role": message.get("role"), "content": message.get("content")} for message in value]


def _shared_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The number of messages that both begin with; the last of the shorter one is an answer."""
    pairs = list(zip(first, second, strict=False))[:-1]
    return next((index for index, (one, two) in enumerate(pairs) if one != two), len(pairs))


def _list(row: Any, key: str) -> list[Any]:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidExample(f": {key} is not a list of objects", "Write it as SQuAD does.")
    return value


def _question(context: Any, question: Any, answers: Sequence[Any]) -> dict[str, Any]:
    pairs = {(answer.get("text"), answer.get("answer_start")): None for answer in answers}
    return {
        "context": context,
        "question": question,
        "answers": {
            "text": [text for text, _ in pairs],
            "answer_start": [start for _, start in pairs],
        },
    }


def _label(value: Any, options: ConversionOptions) -> Any:
    if type(value) is not int and not (isinstance(value, str) and value.isdecimal()):
        return value.strip() if isinstance(value, str) else value
    number = int(value)
    if not options.label_names:
        return str(value)
    if 0 <= number < len(options.label_names):
        return options.label_names[number]
    raise InvalidExample(
        f": the label {escape_for_message(str(value))} has no name",
        f"Give at least {number + 1} names with --label-names.",
    )
