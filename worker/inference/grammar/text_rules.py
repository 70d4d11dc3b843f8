"""Regular expressions of texts that a JSON Schema describes, as Lark's terminals have them."""

import re
from collections.abc import Mapping
from typing import Any

from worker.inference.grammar.alternatives import Unwritable

# Noncharacters stand for special tokens in texts that are read: no text has them.
CHAR = r"[^\x{FDD0}-\x{FDEF}]"
ANY_TEXT = f"/{CHAR}*/"
_DATE = (
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"
    r"(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-9]))"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_DURATION_TIME = r"T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_H16 = r"[0-9a-fA-F]{1,4}"
_URI_CHAR = r"(?:[a-zA-Z0-9\-._~!$&'()*+,;=:@\/?]|%[0-9a-fA-F]{2})"
# Those that are enforced in JSON too: each value is one of the format, if not each of the format is
# one of these.
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"(?:{_DATE})[tT]{_TIME}",
    "duration": (
        r"P(?:(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
        rf"(?:{_DURATION_TIME})?|{_DURATION_TIME}|[0-9]+W)"
    ),
    "email": rf"[a-zA-Z0-9!#$%&'*+\-\/=?\^_`{{|}}~]+(?:\.[a-zA-Z0-9!#$%&'*+\-\/=?\^_`{{|}}~]+)*"
    rf"@{_LABEL}(?:\.{_LABEL})*",
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*",
    "ipv4": rf"(?:{_BYTE}\.){{3}}{_BYTE}",
    "ipv6": (
        rf"(?:{_H16}:){{7}}{_H16}|"
        + "|".join(
            rf"(?:{_H16}:){{{count}}}:{_H16}(?::{_H16}){{0,{5 - count}}}" for count in range(1, 6)
        )
        + rf"|::(?:{_H16}(?::{_H16}){{0,6}})?"
    ),
    "uuid": r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
    "uri": rf"[a-zA-Z][a-zA-Z0-9+\-.]*:\/\/{_URI_CHAR}+(?:\#{_URI_CHAR}*)?",
}
# In JSON Schema, these are the classes of ASCII alone.
ASCII_CLASSES = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[0-9a-zA-Z_]",
    "W": "[^0-9a-zA-Z_]",
}


def write_text(schema: Mapping[str, Any]) -> str:
    """Write the texts of a schema for strings as a terminal's expression. Raises Unwritable."""
    parts = [f"/{CHAR}{write_length(schema)}/"]
    if isinstance(schema.get("pattern"), str):
        parts.append(f"/{write_pattern(schema['pattern'])}/")
    if schema.get("format") in FORMATS:
        parts.append(f"/{FORMATS[schema['format']]}/")
    return " & ".join(parts)


def is_free(schema: Mapping[str, Any]) -> bool:
    """Check that only the length of a text is limited, if anything is."""
    return "pattern" not in schema and schema.get("format") not in FORMATS


def write_length(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if not _is_count(least) or not (most is None or _is_count(most)):
        raise Unwritable("lengths of texts that are no whole numbers")
    if most is not None and most < least:
        raise Unwritable("texts that are longer than their maxLength")
    if most is None:
        return f"{{{least},}}" if least else "*"
    return f"{{{least},{most}}}"


def write_pattern(pattern: str) -> str:
    """Write a pattern, which is searched for in a text, as one that is the whole text."""
    begins, ends = pattern.startswith("^"), _ends_with_anchor(pattern)
    inner = pattern[begins : len(pattern) - ends]
    anchors, is_choice = _scan(inner)
    if anchors or (is_choice and (begins or ends)):
        raise Unwritable(f"the pattern {pattern[:80]!r}, whose ^ or $ are inside of it")
    before, after = ("" if begins else "(?s:.*)"), ("" if ends else "(?s:.*)")
    return f"{before}(?:{_to_lark(inner)}){after}"


def not_containing(text: str) -> str:
    """Write the texts that do not contain a text, whatever white space is in it."""
    chars = r"[\s\x1C-\x1F]*".join(quote(char) for char in text)
    return f"~/(?s:.*){chars}(?s:.*)/"


def quote(char: str) -> str:
    """Quote a character of a regular expression."""
    return "\\/" if char == "/" else re.escape(char)


def _ends_with_anchor(pattern: str) -> bool:
    before = pattern[:-1]
    is_escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
    return pattern.endswith("$") and not is_escaped


def _scan(pattern: str) -> tuple[bool, bool]:
    """Check a pattern for anchors, and for a choice that is outside of groups."""
    has_anchor = is_choice = is_escaped = False
    in_class, depth = 0, 0
    for char in pattern:
        if is_escaped:
            is_escaped = False
        elif char == "\\":
            is_escaped = True
        elif in_class:
            in_class += (char == "[") - (char == "]")
        elif char == "[":
            in_class = 1
        else:
            depth += (char == "(") - (char == ")")
            has_anchor = has_anchor or char in "^$"
            is_choice = is_choice or (char == "|" and depth == 0)
    return has_anchor, is_choice


def _to_lark(pattern: str) -> str:
    """Write a regular expression so that it may stand between slashes."""
    written: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "\\")
            written.append(ASCII_CLASSES.get(escaped, f"\\{escaped}"))
        else:
            written.append({"/": "\\/", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, char))
    return "".join(written)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
