"""Rows of texts, as training of encoders and classifiers reads them."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from app.errors import InvalidRequest
from app.formats import FormatName
from app.formats.classification import LabelledText
from app.formats.embedding import ScoredTextPair, TextPair
from app.formats.question_answering import QuestionExample
from app.formats.token_classification import AnnotatedText
from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import (
    RenderedRow,
    RenderedTrainingRows,
    RenderTrainingRowsRequest,
    RowSequence,
    SequenceRole,
)
from worker.encoding.rows.methods import ROW_METHODS
from worker.encoding.rows.row import TextRow
from worker.encoding.tags import bio_tag_names
from worker.encoding.task import Method
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.inference.training_rows.segments import ShownToken, build_segments

ANSWER_LABEL = "answer"
NO_ANSWER_LABEL = "no_answer"
LONG_NOTES = {
    LongRowPolicy.TRUNCATE: "It is truncated, as texts of requests are.",
    LongRowPolicy.DROP: "It is left out, since long_rows is 'drop'.",
    LongRowPolicy.ERROR: "The job would fail, since long_rows is 'error'.",
}
# Texts of an example that is embedded, in the order of their roles.
EMBEDDED_ROLES = (SequenceRole.ANCHOR, SequenceRole.POSITIVE, SequenceRole.NEGATIVE)


class TextRows:
    """Tokenizes the rows of a request."""

    def __init__(self, tokenizer: EncoderTokenizer, request: RenderTrainingRowsRequest) -> None:
        length = request.max_tokens or tokenizer.max_length
        self._tokenizer = tokenizer.with_length(min(length, tokenizer.max_length))
        self._request = request

    def render(self) -> RenderedTrainingRows:
        """Tokenize the rows. Raises InvalidRequest for a format of other methods."""
        method = next((name for name in ROW_METHODS if name == self._request.method), None)
        format = FormatName(self._request.format)
        if method is None or format not in ROW_METHODS[method].converters:
            raise InvalidRequest(
                f"Rows in the format {self._request.format!r} are not read by the method "
                f"{self._request.method!r}.",
                param="format",
            )
        converter = ROW_METHODS[method].converters[format]
        examples = [converter(row) for row in self._request.rows]
        rows = self._render_embedded(examples) if method == "embedding" else []
        return RenderedTrainingRows(
            max_tokens=self._tokenizer.max_length,
            warnings=[],
            data=rows or list(self._render_rows(method, examples)),
        )

    def _render_embedded(self, examples: Sequence[Any]) -> list[RenderedRow]:
        """Labelled texts are shown alone: which text each is paired with depends on all others."""
        return [self._describe_embedded(example) for example in examples]

    def _describe_embedded(self, example: TextPair | ScoredTextPair | LabelledText) -> RenderedRow:
        roles: Sequence[SequenceRole] = EMBEDDED_ROLES
        labels = score = None
        if isinstance(example, ScoredTextPair):
            roles, score = (SequenceRole.FIRST, SequenceRole.SECOND), example.score
            texts = [example.first, example.second]
        elif isinstance(example, LabelledText):
            labels, texts = list(example.labels), [example.text]
        else:
            texts = [example.anchor, example.positive]
            texts += [] if example.negative is None else [example.negative]
        tokenized = self._tokenizer.tokenize(texts)
        sequences = [
            self._build(role, text, self._list_tokens(text, source))
            for role, text, source in zip(roles, tokenized, texts, strict=False)
        ]
        has_target = labels is None or bool(labels)
        row = self._describe(sequences, labels=labels, score=score)
        if not has_target:
            return row.model_copy(update={"is_learned": False, "note": "It has no label."})
        return row

    def _render_rows(self, method: Method, examples: Sequence[Any]) -> Iterator[RenderedRow]:
        if not examples:
            return
        functions = ROW_METHODS[method]
        task = functions.infer_task(examples, self._tokenizer.max_length, self._tokenizer)
        rows = functions.build_rows(examples, task, self._tokenizer)
        tags = bio_tag_names(task.labels) if method == "token_classification" else ()
        for index, group in groupby(rows, key=lambda row: row.example_index):
            example = examples[index]
            sequences = [self._build_sequence(example, row, tags) for row in group]
            labels = list(example.labels) if isinstance(example, LabelledText) else None
            yield self._describe(sequences, labels=labels)

    def _describe(self, sequences: list[RowSequence], **target: Any) -> RenderedRow:
        policy = self._request.long_rows
        note = None
        if any(sequence.is_truncated for sequence in sequences):
            note = f"It is longer than {self._tokenizer.max_length} tokens. {LONG_NOTES[policy]}"
        return RenderedRow(
            is_learned=note is None or policy == LongRowPolicy.TRUNCATE,
            fails_job=note is not None and policy == LongRowPolicy.ERROR,
            note=note,
            sequences=sequences,
            **target,
        )

    def _build_sequence(self, example: Any, row: TextRow, tags: Sequence[str]) -> RowSequence:
        if isinstance(example, QuestionExample):
            tokens = self._list_tokens(row.text, example.question, example.context)
            return self._build(SequenceRole.WINDOW, row.text, _mark_answer(tokens, row))
        tokens = self._list_tokens(row.text, example.text)
        if isinstance(example, AnnotatedText):
            tokens = _mark_tags(tokens, row, tags)
        return self._build(SequenceRole.TEXT, row.text, tokens)

    def _build(
        self, role: SequenceRole, text: TokenizedText, tokens: Sequence[ShownToken]
    ) -> RowSequence:
        split = self._request.split
        return RowSequence(
            role=role,
            token_count=len(tokens),
            loss_token_count=sum(token.has_loss for token in tokens),
            is_truncated=not text.is_complete,
            segments=[] if split is None else build_segments(tokens, split),
        )

    def _list_tokens(
        self, text: TokenizedText, source: str, pair: str | None = None
    ) -> list[ShownToken]:
        """List the tokens of a text, each with the characters since the one before it."""
        tokens: list[ShownToken] = []
        end = 0
        for place, (id, (begin, stop)) in enumerate(
            zip(text.ids.tolist(), text.offsets.tolist(), strict=True)
        ):
            if pair is not None and text.pair_start and place == text.pair_start:
                source, end = pair, begin
            if begin == stop:
                name = str(self._tokenizer.hf_tokenizer.convert_ids_to_tokens(id))
                tokens.append(ShownToken(name.encode()))
                continue
            tokens.append(ShownToken(source[min(end, stop) : stop].encode()))
            end = max(end, stop)
        return tokens


def _mark_tags(tokens: Sequence[ShownToken], row: TextRow, tags: Sequence[str]) -> list[ShownToken]:
    """Mark the first token of each unit, which alone has a tag."""
    return [
        ShownToken(token.text, has_loss=True, label=tags[target]) if target >= 0 else token
        for token, target in zip(tokens, row.target.tolist(), strict=True)
    ]


def _mark_answer(tokens: Sequence[ShownToken], row: TextRow) -> list[ShownToken]:
    """Mark the tokens from the answer's first to its last, or the first of all without answer."""
    first, last = row.target.tolist()
    label = ANSWER_LABEL if (first, last) != (0, 0) else NO_ANSWER_LABEL
    return [
        ShownToken(token.text, has_loss=True, label=label) if first <= place <= last else token
        for place, token in enumerate(tokens)
    ]
