"""Files that are no JSON Lines at all, known by the line with which they begin."""

SAVE = "Save it as UTF-8 and upload it again."
UNPACK = "Unpack it and upload the .jsonl file in it."
EXPORT = "Export the examples as JSON Lines: one JSON object per line."
KNOWN: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", f"The file is compressed with gzip. {UNPACK}"),
    (b"BZh", f"The file is compressed with bzip2. {UNPACK}"),
    (b"\xfd7zXZ\x00", f"The file is compressed with xz. {UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"The file is compressed with zstd. {UNPACK}"),
    (b"7z\xbc\xaf", f"The file is a 7z archive. {UNPACK}"),
    (b"PK\x03\x04", f"The file is a ZIP archive or an Excel workbook. {EXPORT}"),
    (b"\xd0\xcf\x11\xe0", f"The file is an old Excel workbook or Word document. {EXPORT}"),
    (b"PAR1", f"The file is in the Parquet format. {EXPORT}"),
    (b"ARROW1", f"The file is in the Arrow format. {EXPORT}"),
    (b"%PDF", f"The file is a PDF document. {EXPORT}"),
    (b"\xff\xfe\x00\x00", f"The file is UTF-32 text. {SAVE}"),
    (b"\x00\x00\xfe\xff", f"The file is UTF-32 text. {SAVE}"),
    (b"\xff\xfe", f"The file is UTF-16 text. {SAVE}"),
    (b"\xfe\xff", f"The file is UTF-16 text. {SAVE}"),
    # Example files often come so: brackets around it all, and commas between.
    (b"[", f"The file is a JSON array (line 1), not JSON Lines. {EXPORT} No [ ] around them."),
)


def recognize(first_line: bytes) -> str | None:
    """What a file that begins so is instead, and what to do, or None if it may be JSON Lines."""
    text = first_line.strip()
    for start, reason in KNOWN:
        if text.startswith(start):
            return reason
    if b"\x00" in text[:4]:
        # No JSON has a zero byte; every other one of English text in UTF-16 is.
        return f"The file is UTF-16 or UTF-32 text, or no text at all. {SAVE}"
    if text == b"{":
        return f"Example 1 is spread over several lines (line 1). {EXPORT}"
    return None
