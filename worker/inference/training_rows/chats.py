"""Rows of chats, completions and preferences, as training of causal models reads them."""

from collections.abc import Sequence
from dataclasses import replace

from app.errors import InvalidRequest
from app.formats import FormatName, PreferenceExample
from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import (
    RenderedRow,
    RenderedTrainingRows,
    RenderTrainingRowsRequest,
    RowSegment,
    RowSequence,
    SegmentSplit,
    SequenceRole,
)
from worker.inference.training_rows.segments import ShownToken, build_segments
from worker.inference.vocabulary import Vocabulary
from worker.model.rendering import RenderedChat, Renderer, RenderingError
from worker.model.rendering.file_examples import (
    READERS,
    Example,
    apply_policy,
    find_labels,
    find_rows_to_compare,
    has_labels,
    is_too_long,
    render_outputs,
    render_text_or_chat,
    template_warnings,
)
from worker.model.rendering.rows import TrainingRow

LONG_NOTES = {
    LongRowPolicy.DROP: "It is left out, since long_rows is 'drop'.",
    LongRowPolicy.ERROR: "The job would fail, since long_rows is 'error'.",
}


class ChatRows:
    """Renders the rows of a request."""

    def __init__(self, renderer: Renderer, request: RenderTrainingRowsRequest) -> None:
        options = replace(renderer.options, thinking=request.thinking)
        self._renderer = renderer.with_options(options, context_length=request.max_tokens)
        self._vocabulary = Vocabulary(renderer.tokenizer)
        self._request = request

    def render(self) -> RenderedTrainingRows:
        """Render the rows. Raises InvalidRequest for a format of other methods."""
        reader = READERS.get(FormatName(self._request.format))
        if reader is None:
            raise InvalidRequest(
                f"Rows in the format {self._request.format!r} are not chats.", param="format"
            )
        return RenderedTrainingRows(
            max_tokens=self._renderer.context_length,
            warnings=template_warnings(self._renderer),
            data=[self._render(reader(row)) for row in self._request.rows],
        )

    def _render(self, example: Example) -> RenderedRow:
        try:
            if isinstance(example, PreferenceExample):
                return self._render_pair(example)
            return self._describe(render_text_or_chat(self._renderer, example))
        except RenderingError as error:
            note = f"{error} The job would fail."
            return RenderedRow(is_learned=False, fails_job=True, note=note)

    def _describe(self, rendered: RenderedChat) -> RenderedRow:
        policy = self._request.long_rows
        is_long = is_too_long(rendered)
        kept = apply_policy(rendered, policy) if is_long else rendered
        return RenderedRow(
            is_learned=any(map(has_labels, kept.rows)),
            fails_job=is_long and policy == LongRowPolicy.ERROR,
            note=self._note(rendered, is_long=is_long),
            sequences=[self._build(SequenceRole.ROW, row) for row in rendered.rows],
        )

    def _note(self, rendered: RenderedChat, *, is_long: bool) -> str | None:
        """Say what of an example is not learned, and why."""
        length = f"It is longer than {self._renderer.context_length} tokens."
        if is_long and self._request.long_rows in LONG_NOTES:
            return f"{length} {LONG_NOTES[self._request.long_rows]}"
        if rendered.num_learned < rendered.num_turns:
            missing = rendered.num_turns - rendered.num_learned - rendered.num_cut
            cut = f" {rendered.num_cut} do not fit as a whole." if rendered.num_cut else ""
            other = (
                f" The chat template does not render {missing} as answers to the messages before."
                if missing
                else ""
            )
            counts = f"{rendered.num_learned} of {rendered.num_turns} answers are learned."
            return f"{counts}{cut}{other}"
        if is_long:
            return f"{length} It is learned up to the cut."
        return None if any(map(has_labels, rendered.rows)) else "It has no answer to learn."

    def _render_pair(self, example: PreferenceExample) -> RenderedRow:
        outputs = render_outputs(self._renderer, example)
        rows = find_rows_to_compare(outputs)
        shown = rows or tuple(
            next(filter(has_labels, output.rows), None) or next(iter(output.rows), None)
            for output in outputs
        )
        roles = (SequenceRole.CHOSEN, SequenceRole.REJECTED)
        is_long = any(output.num_cut for output in outputs)
        return RenderedRow(
            is_learned=rows is not None,
            fails_job=is_long and self._request.long_rows == LongRowPolicy.ERROR,
            note=None if rows is not None else self._note_of_pair(outputs, shown),
            sequences=[
                self._build(role, row)
                for role, row in zip(roles, shown, strict=True)
                if row is not None
            ],
        )

    def _note_of_pair(
        self, outputs: Sequence[RenderedChat], shown: Sequence[TrainingRow | None]
    ) -> str:
        if any(output.num_cut for output in outputs):
            policy = self._request.long_rows
            outcome = LONG_NOTES.get(policy, "It is left out.")
            return f"It is longer than {self._renderer.context_length} tokens. {outcome}"
        if any(row is None for row in shown):
            return "The chat template does not render an output as an answer. It is left out."
        return "Both outputs are the same to the model. It is left out."

    def _build(self, role: SequenceRole, row: TrainingRow) -> RowSequence:
        labels = set(find_labels(row).tolist())
        split = self._request.split
        return RowSequence(
            role=role,
            token_count=len(row.ids),
            loss_token_count=len(labels),
            is_truncated=not row.is_complete,
            segments=[] if split is None else self._build_segments(row, labels, split),
        )

    def _build_segments(
        self, row: TrainingRow, labels: set[int], split: SegmentSplit
    ) -> list[RowSegment]:
        read = self._vocabulary.token_bytes
        tokens = [
            ShownToken(read(id), has_loss=place in labels)
            for place, id in enumerate(row.ids.tolist())
        ]
        return build_segments(tokens, split)
