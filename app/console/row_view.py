"""Rows of training files as pages show them: blocks of text with marked parts, for each format."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

T = TypeVar("T")
Row = Mapping[str, Any]

PREFERRED_KEYS = ("preferred_output", "preferred_completion")
NON_PREFERRED_KEYS = ("non_preferred_output", "non_preferred_completion")
TEXT_KEYS = ("anchor", "positive", "negative", "sentence1", "sentence2", "text")
SEQUENCE_TITLES = {"row": "As the model reads it", "text": "As the model reads it"}
# Of one block. A row may have 4 MiB; who wants more downloads the file.
MAX_BLOCK_CHARS = 6000
# Of one list: labels, messages, entities, tools. A row may have half a million.
MAX_LISTED = 200
# Of one block: as many tokens as fit into its text.
MAX_PARTS = 2000


@dataclass(frozen=True, slots=True)
class Part:
    """A run of text. `label` names an entity or an answer; `has_loss` says that it is learned."""

    text: str
    label: str | None = None
    has_loss: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A titled text, such as a message. `kind` chooses its look; `note` stands beside the title."""

    title: str
    parts: list[Part]
    kind: str = "text"
    note: str = ""


@dataclass(frozen=True, slots=True)
class RowView:
    """A row to show. `labels` are its targets; `note` says what training leaves out of it."""

    blocks: list[Block]
    labels: list[str] = field(default_factory=list)
    note: str | None = None
    is_learned: bool = True


def build_row(row: Row, format: str | None) -> RowView:
    """Show a valid row as it is in the file."""
    match format:
        case "chat":
            return RowView(_build_chat(row))
        case "preference":
            return RowView(_build_preference(row))
        case "completion":
            blocks = [_build_text("prompt", row), _build_text("completion", row, "assistant")]
            return RowView(blocks)
        case "token_classification":
            return RowView([_build_entities(row)])
        case "question_answering":
            return RowView([_build_text("question", row, "user"), _build_context(row)])
        case _:
            blocks = [_build_text(key, row) for key in TEXT_KEYS if key in row]
            return RowView(blocks or [_build_json(row)], _list_labels(row))


def build_rendered(rendered: Mapping[str, Any]) -> RowView:
    """Show a row as training reads it: its tokens, and which of them carry loss."""
    labels = _cut_words(rendered.get("labels") or [])
    if rendered.get("score") is not None:
        labels.append(f"score {rendered['score']:g}")
    return RowView(
        [_build_sequence(sequence) for sequence in rendered["sequences"]],
        labels,
        rendered["note"],
        rendered["is_learned"],
    )


def cut_list(items: Sequence[T], limit: int = MAX_LISTED) -> tuple[Sequence[T], list[str]]:
    """Split a list into the items that a page shows, and words for the others, if any."""
    more = len(items) - limit
    return items[:limit], [f"and {more:,} more"] if more > 0 else []


def cut_text(text: str) -> str:
    return text if len(text) <= MAX_BLOCK_CHARS else text[:MAX_BLOCK_CHARS] + " …"


def _cut_words(items: Sequence[object]) -> list[str]:
    shown, more = cut_list(items)
    return [*map(str, shown), *more]


def _build_sequence(sequence: Mapping[str, Any]) -> Block:
    tokens, learned = sequence["token_count"], sequence["loss_token_count"]
    note = f"{tokens:,} tokens, {learned:,} with loss"
    note += ", cut at the length of a row" if sequence["is_truncated"] else ""
    segments, more = cut_list(sequence["segments"], MAX_PARTS)
    parts = [Part(each["text"], each["label"], each["has_loss"]) for each in segments]
    parts += [Part(f" … {words}") for words in more]
    role = sequence["role"]
    title = SEQUENCE_TITLES.get(role, role.capitalize())
    return Block(title, _limit(parts), f"tokens {role}", note)


def _build_chat(row: Row) -> list[Block]:
    blocks = _build_messages(row["messages"])
    return _build_tools(row) + blocks


def _build_preference(row: Row) -> list[Block]:
    given = row["input"]
    blocks = _build_tools(given) + _build_messages(given["messages"])
    for title, kind, keys in (
        ("Preferred answer", "chosen", PREFERRED_KEYS),
        ("Rejected answer", "rejected", NON_PREFERRED_KEYS),
    ):
        messages: list[Row] = next((row[key] for key in keys if key in row), [])
        blocks += [Block(title, each.parts, kind) for each in _build_messages(messages)]
    return blocks


def _build_tools(row: Row) -> list[Block]:
    tools = row.get("tools") or row.get("functions") or []
    shown, more = cut_list(tools)
    names = [(tool.get("function") or tool).get("name", "?") for tool in shown]
    text = ", ".join(map(str, [*names, *more]))
    return [Block("tools", _limit([Part(text)]), "tools")] if names else []


def _build_messages(messages: Sequence[Row]) -> list[Block]:
    shown, more = cut_list(messages)
    blocks = [
        Block(
            message["role"],
            _limit([Part(_join_message(message))]),
            message["role"],
            "weight 0: not learned" if message.get("weight") == 0 else "",
        )
        for message in shown
    ]
    return blocks + [Block("…", [Part(f"{words} messages")]) for words in more]


def _join_message(message: Row) -> str:
    """The text of a message: its reasoning, content, and calls of tools, on lines of their own."""
    content = message.get("content")
    if isinstance(content, list):
        pieces, more = cut_list(content)
        texts = [str(part.get("text") or part.get("refusal") or "") for part in pieces]
        content = "".join([*texts, *(f" … {words}" for words in more)])
    reasoning = message.get("reasoning_content")
    shown, more = cut_list(message.get("tool_calls") or [])
    calls = [call["function"] for call in shown]
    calls += [message["function_call"]] if message.get("function_call") else []
    lines = [f"[reasoning] {reasoning}" if reasoning else None, content, message.get("refusal")]
    lines += [f"{call['name']}({call.get('arguments', '')})" for call in calls]
    lines += more
    return "\n".join(line for line in lines if line)


def _build_text(key: str, row: Row, kind: str = "text") -> Block:
    return Block(key, _limit([Part(str(row.get(key, "")))]), kind)


def _build_json(row: Row) -> Block:
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(row):
        text += piece
        if len(text) > MAX_BLOCK_CHARS:
            break
    return Block("row", _limit([Part(text)]), "json")


def _list_labels(row: Row) -> list[str]:
    if "score" in row:
        return [f"score {row['score']:g}"]
    labels = row["labels"] if "labels" in row else [row["label"]] if "label" in row else []
    return _cut_words(labels) or (["no label"] if "labels" in row else [])


def _build_entities(row: Row) -> Block:
    if "tokens" in row:
        tokens, more = cut_list(row["tokens"], MAX_PARTS)
        parts = _join_tags(tokens, row["tags"][:MAX_PARTS])
        return Block("tokens", _limit(parts + [Part(f" … {words}") for words in more]))
    entities, more = cut_list(row["entities"])
    spans = [(each["start"], each["end"], each["label"]) for each in entities]
    note = "".join(f"{words} entities" for words in more)
    return Block("text", _mark_spans(row["text"], spans), note=note)


def _join_tags(tokens: Sequence[str], tags: Sequence[str]) -> list[Part]:
    """Join tokens to runs of one entity, by BIO tags."""
    runs: list[tuple[list[str], str | None]] = []
    for token, tag in zip(tokens, tags, strict=True):
        prefix, _, label = tag.partition("-")
        if runs and prefix != "B" and runs[-1][1] == (label or None):
            runs[-1][0].append(token)
        else:
            runs.append(([token], label or None))
    return [Part(" ".join(words), label) for words, label in runs]


def _build_context(row: Row) -> Block:
    answers = row["answers"]
    starts, more = cut_list(answers["answer_start"])
    pairs = zip(starts, answers["text"][:MAX_LISTED], strict=True)
    spans = [(start, start + len(text), "answer") for start, text in pairs]
    note = "".join(f"{words} answers" for words in more) if spans else "unanswerable"
    return Block("context", _mark_spans(row["context"], spans), note=note)


def _mark_spans(text: str, spans: list[tuple[int, int, str]]) -> list[Part]:
    """Split a text at spans; where some overlap, as answers may, the first one counts."""
    kept: list[tuple[int, int, str]] = [(0, 0, "")]
    for span in sorted(spans):
        if span[0] >= kept[-1][1]:
            kept.append(span)
    parts: list[Part] = []
    for (_, last, _), (start, end, label) in pairwise([*kept, (len(text), len(text), "")]):
        parts += [Part(text[last:start]), Part(text[start:end], label or None)]
    return _limit([part for part in parts if part.text])


def _limit(parts: list[Part]) -> list[Part]:
    """Cut the text of a block at what a page can show."""
    kept: list[Part] = []
    room = MAX_BLOCK_CHARS
    for part in parts:
        if len(part.text) > room:
            return [*kept, Part(part.text[:room] + " …", part.label, part.has_loss)]
        room -= len(part.text)
        kept.append(part)
    return kept
