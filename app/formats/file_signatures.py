"""Files that are no JSON Lines at all, known by the line with which they begin."""

SAVE_HINT = "Save it as UTF-8 and upload it again."
UNPACK_HINT = "Unpack it and upload the .jsonl file in it."
EXPORT_HINT = "Export the examples as JSON Lines: one JSON object per line."
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", f"The file is compressed with gzip. {UNPACK_HINT}"),
    (b"BZh", f"The file is compressed with bzip2. {UNPACK_HINT}"),
    (b"\xfd7zXZ\x00", f"The file is compressed with xz. {UNPACK_HINT}"),
    (b"\x28\xb5\x2f\xfd", f"The file is compressed with zstd. {UNPACK_HINT}"),
    (b"7z\xbc\xaf", f"The file is a 7z archive. {UNPACK_HINT}"),
    (b"PK\x03\x04", f"The file is a ZIP archive or an Excel workbook. {EXPORT_HINT}"),
    (b"\xd0\xcf\x11\xe0", f"The file is an old Excel workbook or Word document. {EXPORT_HINT}"),
    (b"PAR1", f"The file is in the Parquet format. {EXPORT_HINT}"),
    (b"ARROW1", f"The file is in the Arrow format. {EXPORT_HINT}"),
    (b"%PDF", f"The file is a PDF document. {EXPORT_HINT}"),
    (b"\xff\xfe\x00\x00", f"The file is UTF-32 text. {SAVE_HINT}"),
    (b"\x00\x00\xfe\xff", f"The file is UTF-32 text. {SAVE_HINT}"),
    (b"\xff\xfe", f"The file is UTF-16 text. {SAVE_HINT}"),
    (b"\xfe\xff", f"The file is UTF-16 text. {SAVE_HINT}"),
    # Example files often come so: brackets around it all, and commas between.
    (b"[", f"The file is a JSON array (line 1), not JSON Lines. {EXPORT_HINT} No [ ] around them."),
)


def detect_foreign_format(first_line: bytes) -> str | None:
    """What a file that begins so is instead, and what to do, or None if it may be JSON Lines."""
    text = first_line.strip()
    for start, reason in SIGNATURES:
        if text.startswith(start):
            return reason
    if b"\x00" in text[:4]:
        # No JSON has a zero byte; every other one of English text in UTF-16 is.
        return f"The file is UTF-16 or UTF-32 text, or no text at all. {SAVE_HINT}"
    if text == b"{":
        return f"Example 1 is spread over several lines (line 1). {EXPORT_HINT}"
    return None
