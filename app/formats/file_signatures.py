"""Files that are not JSON Lines, recognized by their first bytes (magic numbers)."""

import re

from app.formats.layouts import CONVERT_HINT, Layout, describe_layout, describe_table

SAVE_HINT = "Save it as UTF-8 and upload it again."
UNPACK_HINT = "Unpack it and upload the .jsonl file in it."
EXPORT_HINT = "Export the examples as JSON Lines: one JSON object per line."
# A signature that is a prefix of another comes after it.
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
    # Example files are often written like this: brackets around everything, commas between.
    (b"[", f"The file is a JSON array (line 1), not JSON Lines. {CONVERT_HINT}"),
)
# SQuAD's files are one document, with or without the version before the data.
SQUAD_START = re.compile(rb'\{\s*("version"\s*:\s*"[^"]{0,64}"\s*,\s*)?"data"\s*:\s*\[')


def detect_foreign_format(first_line: bytes) -> str | None:
    """Find the error message for a file that begins with this line; None if it may be valid."""
    text = first_line.strip()
    for signature, reason in SIGNATURES:
        if text.startswith(signature):
            return reason
    if b"\x00" in text[:4]:
        # JSON has no zero bytes; in UTF-16, every other byte of English text is zero.
        return f"The file is UTF-16 or UTF-32 text, or not text at all. {SAVE_HINT}"
    if text == b"{":
        return f"Example 1 is spread over several lines (line 1). {CONVERT_HINT}"
    return None if text.startswith(b"{") else describe_table(text.decode(errors="replace"))


def detect_document(head: bytes) -> str | None:
    """Find the error message for a document that begins like this; None if it is none known."""
    return describe_layout(Layout.SQUAD) if SQUAD_START.match(head.lstrip()) else None
