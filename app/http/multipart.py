"""Streaming parser of upload forms: file bytes are passed on as they arrive, in constant memory.

Fields and the file may come in any order (OpenAI's Node client sends the file first).
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from app.errors import InvalidRequest, PayloadTooLarge

MAX_FIELDS = 16
MAX_FIELD_BYTES = 8 * 1024
# Handed to a thread at once.
BLOCK_BYTES = 256 * 1024

EXTENDED_FILENAME = re.compile(
    rb""";\s*filename\*\s*=\s*"?(?P<charset>[\w-]*)'[\w-]*'(?P<value>[^\s;"]*)""", re.IGNORECASE
)

# Consumes the bytes of a file.
Sink = Callable[[bytes], None]


@dataclass(slots=True)
class FormPart:
    """The part being read: its headers (lower-case names) and the consumer of its bytes."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    sink: Sink | None = None


class FormParser:
    """Push parser of one form: `feed` it the body's chunks, then `close` it.

    `open_file` is called with the fields so far when the file starts, and returns the consumer of
    its bytes. `example` shows how to send the form with curl. `feed` and `close` raise
    InvalidRequest unless the body is a form with at most one file, named `file_field`.
    """

    def __init__(
        self,
        content_type: str | None,
        *,
        file_field: str,
        example: str,
        open_file: Callable[[Mapping[str, str]], Sink],
    ) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.file_field = file_field
        self._example = example
        self._open_file = open_file
        self._part = FormPart()
        self._parser = MultipartParser(
            _parse_boundary(content_type, example),
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
            },
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest(
                f"The body is not a valid multipart form: {str(error).rstrip('.')}. Send the file "
                "as multipart/form-data, with a name of at most 255 characters."
            ) from error

    def close(self) -> None:
        if self._parser.state != MultipartState.END:
            raise InvalidRequest(
                "The body ends before its multipart form does: it is truncated, or its final "
                "boundary is missing."
            )

    def _part_begin(self) -> None:
        self._part = FormPart()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header_name.lower()] = part.header_value
        part.header_name = part.header_value = b""

    def _headers_finished(self) -> None:
        disposition = self._part.headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition.decode("latin-1"))
        name = _decode_printable(options.get(b"name", b""))
        if name == self.file_field:
            plain = options.get(b"filename")
            self._begin_file(_filename_rfc8187(disposition, name) if plain is None else plain)
        else:
            self._begin_field(name)

    def _begin_file(self, filename: bytes | None) -> None:
        if filename is None:
            raise InvalidRequest(
                f"'{self.file_field}' must be a file, with a file name; with curl: {self._example}",
                param=self.file_field,
            )
        if self.filename is not None:
            raise InvalidRequest("Send one file at a time.", param=self.file_field)
        self.filename = _decode_printable(filename)
        self._part.sink = self._open_file(self.fields)

    def _begin_field(self, name: str) -> None:
        if name in self.fields:
            raise InvalidRequest(f"'{name}' is given twice. Send it once.", param=name)
        if len(self.fields) == MAX_FIELDS:
            raise InvalidRequest(f"The form has more than {MAX_FIELDS} fields.")
        value = bytearray()
        self.fields[name] = ""

        def append(data: bytes) -> None:
            value.extend(data)
            if len(value) > MAX_FIELD_BYTES:
                raise PayloadTooLarge(
                    f"'{name}' is longer than {MAX_FIELD_BYTES} bytes.", param=name
                )
            self.fields[name] = _decode_printable(bytes(value))

        self._part.sink = append

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.sink is not None:
            self._part.sink(data[start:end])


def openapi_form(fields: Mapping[str, Any], *, required: Sequence[str]) -> dict[str, Any]:
    """A route's `openapi_extra`: FastAPI cannot see a form that the route parses itself."""
    schema = {"type": "object", "required": list(required), "properties": dict(fields)}
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _parse_boundary(content_type: str | None, example: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 256:
        raise InvalidRequest(
            f"Send the file as multipart/form-data with a boundary; with curl: {example}"
        )
    return boundary


def _filename_rfc8187(disposition: bytes, field: str) -> bytes | None:
    """The file name in RFC 8187's extended notation (`filename*=`), which some clients send alone.

    Raises InvalidRequest for charsets other than UTF-8, which the RFC does not require either.
    """
    match = EXTENDED_FILENAME.search(disposition)
    if match is None:
        return None
    raw = unquote_to_bytes(match["value"])
    if match["charset"].lower() != b"utf-8" or not _is_utf8(raw):
        raise InvalidRequest(
            'The file name is not UTF-8. Send it as filename="data.jsonl", or percent-encoded as '
            "filename*=utf-8''data.jsonl.",
            param=field,
        )
    return raw


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_printable(raw: bytes) -> str:
    # Postgres cannot store NUL in text, and control characters do not belong in names.
    text = raw.decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable())


async def read_form(
    form: FormParser, request: Request, consume: Callable[[Sink, bytes], Awaitable[object]]
) -> str:
    """Feed a form with the request's body; returns the file's name.

    `consume(feed, data)` calls `feed(data)` in a thread. The body is collected into blocks first,
    so that a slow client occupies no thread. Raises InvalidRequest and whatever `consume` raises.
    """
    async for block in _collect_blocks(request.stream()):
        await consume(form.feed, block)
    form.close()
    if form.filename is None:
        field = form.file_field
        raise InvalidRequest(
            f"Missing required parameter: '{field}'.",
            param=field,
            code="missing_required_parameter",
        )
    return form.filename


async def _collect_blocks(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join the chunks of a body to blocks of at least BLOCK_BYTES."""
    block = bytearray()
    async for chunk in stream:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
