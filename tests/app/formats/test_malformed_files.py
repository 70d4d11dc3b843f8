"""Malformed files by number, M01 to M37: each gives one clear message, never an exception.

M31 to M33, too large to write out here, are in test_endless_files; M36, a file name that does not
match the purpose, is in tests/app/files/test_routes.
"""

import gzip
import io
import json
import zipfile
from typing import Any

import pytest

from app.formats import DatasetValidator, ValidationReport
from app.formats.rows import MAX_LINE_BYTES

GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
}
LINE = json.dumps(GOOD).encode()


def validate(data: bytes, **limits: int) -> ValidationReport:
    validator = DatasetValidator(**limits)
    validator.feed(data)
    return validator.finish()


def saying(content: str) -> bytes:
    """A valid line with this raw JSON text in the first message."""
    return LINE.replace(b"Hi", content.encode())


def zipped(data: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("train.jsonl", data)
    return archive.getvalue()


ACCEPTED = {
    "one example": (LINE + b"\n", 1),
    "M15 missing last newline": (LINE, 1),
    "M01 UTF-8 byte order mark": (b"\xef\xbb\xbf" + LINE + b"\n", 1),
    "M10 CRLF": (LINE + b"\r\n" + LINE + b"\r\n", 2),
    "M14 blank line in the middle": (LINE + b"\n\n  \t\r\n" + LINE + b"\n", 2),
    "blank lines at both ends": (b"\n\n" + LINE + b"\n\n\n", 1),
    "M09 U+2028 inside a string": (saying("a\u2028b\u2029c\u0085d") + b"\n", 1),
    "M09 the same as escapes": (saying(r"a\u2028b\u2029c\u0085d") + b"\n", 1),
    "characters beyond U+FFFF": (saying("\U0001f600") + b"\n" + saying(r"\ud83d\ude00"), 2),
    "quotes and backslashes": (saying(r"\"role\": \"x\", \\\" \\") + b"\n", 1),
    "an escaped text about U+0000": (saying(r"\\u0000") + b"\n", 1),
    "spaces around everything": (b"  " + LINE.replace(b":", b" : ") + b"\t", 1),
    "delete and other odd but legal characters": (saying("\x7f\ufeff\ufffe\u202e"), 1),
}


@pytest.mark.parametrize(("data", "examples"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(data: bytes, examples: int) -> None:
    report = validate(data)
    assert report.status_details() is None
    assert (report.format, report.example_count, report.error_count) == ("chat", examples, 0)


# Files of another format: one error, whatever else they contain.
OTHER_FILES = {
    "M12 empty file": (b"", "has no examples"),
    "M12 only a byte order mark": (b"\xef\xbb\xbf", "has no examples"),
    "M13 only blank lines": (b"\n \n\t\r\n\n", "has no examples"),
    "M35 gzip": (gzip.compress(LINE * 100), "compressed with gzip. Unpack it"),
    "M35 ZIP": (zipped(LINE), "ZIP archive or an Excel workbook"),
    "M35 Parquet": (b"PAR1\x15\x04\x15\x1c" + bytes(100) + b"PAR1", "in the Parquet format"),
    "M35 old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "old Excel workbook"),
    "M35 zstd": (b"\x28\xb5\x2f\xfd\x04\x58", "compressed with zstd"),
    "M02 UTF-16LE with mark": (b"\xff\xfe" + LINE.decode().encode("utf-16le"), "is UTF-16 text"),
    "M02 UTF-16BE with mark": (b"\xfe\xff" + LINE.decode().encode("utf-16be"), "is UTF-16 text"),
    "M02 UTF-16LE without mark": (LINE.decode().encode("utf-16le"), "UTF-16 or UTF-32"),
    "M02 UTF-16BE without mark": (LINE.decode().encode("utf-16be"), "UTF-16 or UTF-32"),
    "M03 UTF-32LE with mark": (
        b"\xff\xfe\0\0" + LINE.decode().encode("utf-32le"),
        "is UTF-32 text",
    ),
    "M03 UTF-32BE without mark": (LINE.decode().encode("utf-32be"), "UTF-16 or UTF-32"),
    "M17 array on one line": (json.dumps([GOOD, GOOD]).encode(), "JSON array (line 1)"),
    "M17 array over many lines": (json.dumps([GOOD] * 3, indent=1).encode(), "JSON array (line 1)"),
    "M17 array after blank lines and a mark": (b"\xef\xbb\xbf\n\n [{}]", "JSON array"),
    "examples over several lines": (json.dumps(GOOD, indent=2).encode(), "over several lines"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_file_of_another_format(name: str) -> None:
    data, words = OTHER_FILES[name]
    report = validate(data)
    assert report.error_count == 1
    place = (report.errors[0].line, report.errors[0].offset)
    assert place == ((3, 5) if "after blank lines" in name else (1, 0))
    assert report.code == "invalid_file_format"
    details = report.status_details()
    assert details is not None
    assert details.startswith("Invalid file format. ")
    assert words in details


# Invalid lines, tested as the second of three.
BAD_LINES = {
    "not JSON": (b"hello", "Expecting value: line 1 column 1 (char 0) (line 2)"),
    "M16 truncated": (LINE[:-5], "Unterminated string starting at"),
    "M16 truncated behind a brace": (LINE[:-1], "Expecting ',' delimiter: line 1 column"),
    "M19 two objects on a line": (LINE + b" " + LINE, "Extra data"),
    "M11 two objects between carriage returns": (LINE + b"\r" + LINE, "bare carriage returns"),
    "M20 trailing comma": (LINE[:-1] + b",}", "Remove the comma before the closing bracket."),
    "M20 comma behind the object": (LINE + b",", "Write one example per line"),
    "M21 single quotes": (LINE.replace(b'"', b"'"), "double quotes"),
    "M22 a comment": (LINE + b" // first", "Extra data"),
    "M23 NaN": (LINE[:-1] + b', "x": NaN}', "NaN and Infinity are not JSON"),
    "M23 Infinity": (LINE[:-1] + b', "x": -Infinity}', "NaN and Infinity are not JSON"),
    "M24 1e999": (LINE[:-1] + b', "x": 1e999}', "at most 64 bits"),
    "M25 an integer of 5,000 digits": (LINE[:-1] + b', "x": ' + b"9" * 5000 + b"}", "64 bits"),
    "M26 an integer of 20 digits": (LINE[:-1] + b', "tools": [' + b"9" * 20 + b"]}", "64 bits"),
    "M27 leading zero": (LINE[:-1] + b', "x": 01}', "Expecting ',' delimiter"),
    "M04 invalid UTF-8": (LINE.replace(b"Hi", b"\xff"), "byte 44 of the line is not UTF-8"),
    "M05 overlong UTF-8": (LINE.replace(b"Hi", b"\xc0\xaf"), "is not UTF-8"),
    "M04 a surrogate in UTF-8": (LINE.replace(b"Hi", b"\xed\xa0\x80"), "is not UTF-8"),
    "M04 Latin-1": (LINE.replace(b"Hi", "café".encode("latin-1")), "Save the file as UTF-8"),
    "M06 raw NUL": (LINE.replace(b"Hi", b"\0"), "Invalid control character"),
    "M34 raw tab": (LINE.replace(b"Hi", b"\t"), "tabs as \\t"),
    "M34 raw escape": (LINE.replace(b"Hi", b"\x1b[31m"), "Invalid control character"),
    "M07 escaped NUL": (saying(r"a\u0000b"), "contains the character U+0000"),
    "M07 escaped NUL in a key": (LINE[:-1] + rb', "\u0000": 1}', "contains the character U+0000"),
    "M08 lone high surrogate": (saying(r"\ud800"), "beyond U+FFFF as two"),
    "M08 lone low surrogate": (saying(r"\udc00"), "beyond U+FFFF as two"),
    "M01 a byte order mark in the middle": (b"\xef\xbb\xbf" + LINE, "byte order mark"),
    "M29 depth 1,000": (b'{"messages": ' + b"[" * 1000 + b"]" * 1000 + b"}", "nested too deep"),
    "M30 depth 1,000,000": (b"[" * 10**6, "Nest no deeper than 64"),
    "M30 depth 1,000,000, closed": (b"[" * 10**6 + b"]" * 10**6, "Nest no deeper than 64"),
    "M29 depth in objects": (b'{"a":' * 70 + b"1" + b"}" * 70, "nested too deep"),
    "M31 a long line": (saying("x" * 2000), "is longer than 2,000 bytes"),
    "M18 a number": (b"17", "is a number, not an object"),
    "M18 a string": (b'"text"', "is a string, not an object"),
    "M18 null": (b"null", "is null, not an object"),
    "M18 true": (b"true", "is true or false, not an object"),
    "M18 a list": (b"[1]", "is a list, not an object"),
    "M37 an empty object": (b"{}", "is missing key 'messages'"),
    "M28 a key twice": (LINE[:-1] + b", " + LINE[1:], 'the key "messages" twice'),
    "M28 a message's key twice": (
        LINE.replace(b'"content": "Hi"', b'"content": "Hi", "role": "user"'),
        'the key "role" twice in one object. Keep one of them.',
    ),
    "M28 a key twice, once in escapes": (
        LINE.replace(b'"content": "Hi"', rb'"content": "Hi", "r\u006fle": "assistant"'),
        'the key "role" twice',
    ),
    "M28 a key twice behind escaped quotes": (
        LINE.replace(b'"content": "Hi"', rb'"content": "\\", "content": "\" \\\" \\"'),
        'the key "content" twice',
    ),
    "M28 a key twice deep in a tool": (
        LINE[:-1] + b', "tools": [{"type": "function", "function": {"name": "a", "name": "a"}}]}',
        'the key "name" twice',
    ),
    "M37 no role": (LINE.replace(b'"role": "user", ', b""), "message 1 Discriminator 'role'"),
    "M37 an unknown role": (LINE.replace(b"user", b"wizard"), "message 1: role is 'wizard'"),
    "M37 no content": (LINE.replace(b'"Hi"', b"null"), "message 1 is missing content"),
    "M37 no answer": (LINE.replace(b"assistant", b"user"), "has no message from the assistant"),
    "M37 weight 2": (LINE.replace(b'"Hello"', b'"Hello", "weight": 2'), "neither 0 nor 1"),
    "M37 a call without an id": (
        LINE.replace(b'"Hello"', b'null, "tool_calls": [{"type": "function", "function": {}}]'),
        "message 2: a tool call has no id",
    ),
    "M37 an image": (
        LINE.replace(b'"Hi"', b'[{"type": "image_url", "image_url": {"url": "file:///x"}}]'),
        "images are not supported",
    ),
    "M37 a control token": (saying("<|endoftext|>"), "contains an invalid token: <|endoftext|>"),
}


@pytest.mark.parametrize(("line", "words"), BAD_LINES.values(), ids=BAD_LINES)
def test_invalid_line_between_valid_ones(line: bytes, words: str) -> None:
    limit = 2000 if "2,000 bytes" in words else MAX_LINE_BYTES
    report = validate(LINE + b"\n" + line + b"\n" + LINE + b"\n", max_line_bytes=limit)
    assert (report.format, report.example_count, report.error_count) == ("chat", 3, 1)
    (error,) = report.errors
    assert (error.line, error.offset) == (2, len(LINE) + 1)
    assert error.reason.startswith(("Example 2 ", "Example 2, message "))
    assert error.reason.endswith(".")
    assert words in error.reason


@pytest.mark.parametrize("name", sorted(BAD_LINES.keys() - {"M01 a byte order mark in the middle"}))
def test_invalid_line_alone(name: str) -> None:
    line, _ = BAD_LINES[name]
    assert validate(line, max_line_bytes=2000).error_count == 1


class TestStatusDetails:
    def test_parse_error_has_openais_message(self) -> None:
        line = LINE.replace(b'", "content": "Hi"', b'" "content": "Hi"')
        details = validate((LINE + b"\n") * 1272 + line).status_details()
        assert details is not None
        assert details.startswith(
            "Invalid file format. Example 1273 cannot be parsed. Error: line contains invalid json:"
            " Expecting ',' delimiter: line 1 column 31 (char 30) (line 1273)"
        )

    def test_examples_and_lines_are_counted_separately(self) -> None:
        report = validate(b"\n\n" + LINE + b"\n\nnonsense\n")
        (error,) = report.errors
        assert (error.line, error.offset) == (5, len(LINE) + 4)
        assert error.reason.startswith("Example 2 cannot be parsed. ")
        assert "(line 5)" in error.reason

    def test_counts_further_errors(self) -> None:
        details = validate(b"{}\n" * 3).status_details()
        assert details is not None
        assert details.endswith(" 2 more example(s) have errors.")
        assert "At least" not in details

    def test_quoted_text_is_truncated_and_escaped(self) -> None:
        line = LINE[:-1] + b', "' + "\u202e\x7f".encode() + b"x" * 1000 + b'": 1}'
        details = validate(line).status_details()
        assert details is not None
        assert r'an extra "\u202e\u007fxxx' in details
        assert len(details) < 300


class TestLimits:
    def test_keeps_only_the_first_errors(self) -> None:
        report = validate(b"{}\n" * 50, max_errors=3)
        assert [error.line for error in report.errors] == [1, 2, 3]
        assert report.error_count == 50

    def test_stops_after_too_many_errors(self) -> None:
        many, more = validate(b"{}\n" * 10_000), validate(b"{}\n" * 20_000)
        assert many == more
        assert more.error_count == 10_000

    def test_resumes_after_a_line_that_is_too_long(self) -> None:
        long = saying("x" * 5000)
        report = validate(long + b"\n" + LINE + b"\n" + long, max_line_bytes=1000)
        assert [(error.line, error.offset) for error in report.errors] == [
            (1, 0),
            (3, len(long) + len(LINE) + 2),
        ]
        assert report.example_count == 3
