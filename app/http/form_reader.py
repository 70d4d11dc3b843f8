"""A request's form, read by a thread as it arrives: what takes the file's bytes may block."""

from collections.abc import AsyncIterator

from anyio import from_thread
from fastapi import Request

from app.errors import InvalidRequest
from app.http.multipart import FormParser


def read_form(form: FormParser, request: Request) -> str:
    """Feed a form with the request's body; the name of its file.

    To be called in a thread. Raises InvalidRequest, and whatever takes the bytes raises.
    """
    stream = request.stream()
    while chunk := from_thread.run(_next_chunk, stream):
        form.feed(chunk)
    form.close()
    if form.filename is None:
        field = form.file_field
        raise InvalidRequest(
            f"Missing required parameter: '{field}'.",
            param=field,
            code="missing_required_parameter",
        )
    return form.filename


async def _next_chunk(stream: AsyncIterator[bytes]) -> bytes:
    return await anext(stream, b"")
