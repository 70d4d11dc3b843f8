"""Numbers, sizes and times as pages show them."""

from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3600, 86400
UNKNOWN = "\N{EN DASH}"


def format_bytes(size: float | None) -> str:
    """A size with a binary unit: `1.5 MiB`; a dash if it is unknown."""
    if size is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_count(value: int | None) -> str:
    """A whole number with separated thousands: `12,345`."""
    return UNKNOWN if value is None else f"{value:,}"


def format_number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits, and without an exponent where it is readable."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.{max(0, digits - 2)}e}"


def format_duration(seconds: float | None) -> str:
    """A duration in its two largest units: `2 h 5 min`."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def format_relative(timestamp: float | None, now: datetime) -> str:
    """The distance of a Unix time from now: `3 min ago`, `in 2 h`."""
    if timestamp is None:
        return UNKNOWN
    seconds = now.timestamp() - timestamp
    text = _format_coarse(abs(seconds))
    if text == "now":
        return "just now"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def format_exact(timestamp: float | None) -> str:
    """A Unix time as `2026-11-30 14:05:09 UTC`."""
    return UNKNOWN if timestamp is None else f"{_to_datetime(timestamp):%Y-%m-%d %H:%M:%S} UTC"


def format_iso(timestamp: float | None) -> str:
    """A Unix time as `2026-11-30T14:05:09Z`, for the attribute of a `time` element."""
    return "" if timestamp is None else f"{_to_datetime(timestamp):%Y-%m-%dT%H:%M:%SZ}"


def format_clock(timestamp: float) -> str:
    """A Unix time as `11-30 14:05:09`, in UTC."""
    return f"{_to_datetime(timestamp):%m-%d %H:%M:%S}"


def _format_coarse(seconds: float) -> str:
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s" if seconds >= 5 else "now"


def _to_datetime(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
