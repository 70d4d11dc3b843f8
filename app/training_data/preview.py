"""Preview of a training file: a page of its rows, as they are and as a base model reads them."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.catalog import CatalogModel
from app.db.tables import File, FilePurpose
from app.errors import InvalidRequest, NotFound
from app.files import service as files
from app.formats import FormatName
from app.http.dependencies import AppState, run_autocommit
from app.inference.engines import EngineClient
from app.models import registry
from app.training_data.reading import PageCursor, format_cursor, read_rows
from app.training_data.reasoning import ReasoningFinder
from app.training_data.rendering import RowRendering, choose_method, render_rows
from app.training_data.row_page import PageRow, RowPage
from app.training_data.schemas import FilePreview, PreviewError, PreviewRow
from app.wire.base import fill_page, page_cursors
from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import RenderedRow, RenderedTrainingRows, SegmentSplit


@dataclass(frozen=True, slots=True)
class RowOptions:
    """A base or fine-tuned model, and a job's options on which its rows depend."""

    model: str | None
    method: str | None = None
    max_seq_length: int | None = None
    long_rows: LongRowPolicy | None = None

    def check(self) -> None:
        """Raise InvalidRequest for an option without a model, which alone gives it a meaning."""
        for name in ("method", "max_seq_length", "long_rows"):
            if self.model is None and getattr(self, name) is not None:
                raise InvalidRequest(
                    f"'{name}' has no effect without 'model'. Name a model, or omit it.", param=name
                )


async def find_file(
    state: AppState, project_id: str, file_id: str, choice: RowOptions, *, param: str = "id"
) -> tuple[File, CatalogModel | None]:
    """Find a training file, and the base of the chosen model. Raises NotFound, InvalidRequest."""

    def find(session: Session) -> tuple[File, CatalogModel | None]:
        file = files.find(session, project_id, file_id)
        if file is None:
            raise NotFound(f"No such File object: {file_id}", param=param)
        if file.purpose != FilePurpose.FINE_TUNE:
            raise InvalidRequest(
                f"File '{file_id}' has purpose '{file.purpose}'; only rows of training files, with "
                "purpose 'fine-tune', are read here.",
                param=param,
            )
        if choice.model is None:
            return file, None
        return file, registry.resolve(session, state.catalog, project_id, choice.model).base

    choice.check()
    # Not in the request's session, which would stay open until the engine has responded.
    return await run_autocommit(state, find)


def choose_rendering(
    base: CatalogModel, format: FormatName, choice: RowOptions, *, thinking: bool
) -> RowRendering:
    """Choose how rows are rendered. Raises InvalidRequest for options that no job may have."""
    if choice.max_seq_length is not None and choice.max_seq_length > base.context_length:
        raise InvalidRequest(
            f"Model {base.id} reads at most {base.context_length} tokens. Lower max_seq_length, or "
            "omit it.",
            param="max_seq_length",
            code="invalid_value",
        )
    method = choose_method(base, format, choice.method)
    return RowRendering(
        base, method, format, choice.max_seq_length, choice.long_rows, thinking=thinking
    )


async def build_preview(
    state: AppState,
    engines: EngineClient,
    reasoning: ReasoningFinder,
    project_id: str,
    file_id: str,
    choice: RowOptions,
    *,
    cursor: PageCursor,
    limit: int,
    split: SegmentSplit,
) -> FilePreview:
    """Build a page of a file's preview.

    Raises NotFound, InvalidRequest, CpuPoolError, and ServiceUnavailable if the rows cannot be
    rendered now.
    """
    file, base = await find_file(state, project_id, file_id, choice)
    rendering = None
    page, has_more = await read_rows(state, file, cursor, limit=limit)
    format = file.format or page.format
    if base is not None and format is not None:
        thinking = await reasoning.find(state, file)
        rendering = choose_rendering(base, format, choice, thinking=thinking)
    valid = [row.row for row in page.rows if row.row is not None]
    parts = (
        [] if rendering is None else await render_rows(engines, project_id, rendering, valid, split)
    )
    return _build(file, page, format, rendering, parts, has_more=has_more)


def _build(
    file: File,
    page: RowPage,
    format: FormatName | None,
    rendering: RowRendering | None,
    parts: list[RenderedTrainingRows],
    *,
    has_more: bool,
) -> FilePreview:
    rendered = iter([row for part in parts for row in part.data])
    rows = (
        _build_row(row, next(rendered, None) if row.row is not None else None) for row in page.rows
    )
    data, has_more = fill_page(rows, has_more=has_more)
    return FilePreview(
        file_id=file.id,
        format=format,
        model=None if rendering is None else rendering.base.id,
        method=None if rendering is None else rendering.method,
        max_tokens=parts[0].max_tokens if parts else None,
        thinking=None if rendering is None else rendering.thinking,
        warnings=parts[0].warnings if parts else [],
        data=data,
        has_more=has_more,
        **page_cursors(data),
    )


def _build_row(row: PageRow, rendered: RenderedRow | None) -> PreviewRow:
    error = None
    if row.reason is not None:
        error = PreviewError(reason=row.reason, code=row.code, line=row.line)
    return PreviewRow(
        id=format_cursor(row.position),
        line=row.position.line,
        offset=row.position.offset,
        example=row.position.example,
        row=row.row,
        error=error,
        rendered=rendered,
    )
