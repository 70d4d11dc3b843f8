"""Every regular expression takes time proportional to its text, however hostile: A45, A46."""

import re
from collections.abc import Callable
from functools import partial
from math import isinf
from typing import Any

import pytest

from tests.growth import (
    MAX_GROWTH,
    MIN_SECONDS,
    RETRIES,
    Growth,
    Prepare,
    measure,
    measure_growth,
)
from tests.security.hostile_repeats import hostile_repeats
from tests.security.pattern_sites import (
    AnyPattern,
    PatternSite,
    find_pattern_sites,
    find_pydantic_engine_settings,
)

# Patterns that this test must find, or it would find nothing: the first two were in use.
KNOWN = {
    "quadratic": (
        r"(sk-[A-Za-z0-9_-]{8})[A-Za-z0-9_-]+"
        r"|(whsec_)[A-Za-z0-9+/=]+"
        r"|(?i:(bearer\s+)[^\s\"']+)"
        r"|(://[^:/@\s]*:)\S+(?=@)"
        r"|(?i:(password=)[^\s&]+)"
        r"|(X-Amz-(?:Signature|Security-Token)=)[^\s&]+",
        "sub",
    ),
    "cubic": (r"\{\{\s*([^{}]*?)\s*\}\}", "sub"),
    "exponential": (r"(a+)+b", "fullmatch"),
}
# Characters of an input at most.
MAX_SIZE = 64 * 1024
# Each input is measured once at the first two sizes. It is suspicious if the larger one takes more
# than 2 ** 0.75 times as much work per character, and more than the noise; only then is it
# measured with care. The tiny size is for work that grows exponentially.
TINY, SMALL, LARGE = 32, 2048, 8192
SUSPICIOUS_FACTOR, NOISE_SECONDS = 6.7, 0.0001


@pytest.mark.parametrize("site", find_pattern_sites(), ids=str)
def test_a45_a46_every_pattern_is_linear(site: PatternSite) -> None:
    pattern = site.compile()
    for method in sorted(site.methods):
        found = find_superlinear_input(pattern, method)
        assert found is None, f"{site}: {pattern.pattern!r}: {found}"


@pytest.mark.parametrize("name", KNOWN)
def test_a45_a46_patterns_that_are_not_linear_are_found(name: str) -> None:
    pattern, method = KNOWN[name]
    assert find_superlinear_input(re.compile(pattern), method) is not None


def test_patterns_of_schemas_use_the_linear_engine() -> None:
    # `pattern=` is matched by the regex crate of Rust, which is linear by construction.
    assert find_pydantic_engine_settings() == []


def find_superlinear_input(pattern: AnyPattern, method: str) -> str | None:
    """Find an input whose time more than doubles when it does, and describe it."""
    source = pattern.pattern
    text = source.decode("latin-1") if isinstance(source, bytes) else source
    for prefix, piece, end in hostile_repeats(text, pattern.flags):
        prepare = partial(_search, pattern, method, prefix, piece, end)
        if _is_suspicious(prepare) and (growth := _confirm_growth(prepare)) is not None:
            return f"{method} of {prefix!r} + {piece!r} * n + {end!r}: {growth}"
    return None


def _is_suspicious(prepare: Prepare) -> bool:
    if measure(prepare(TINY), repeats=1) > MIN_SECONDS:
        return True
    small, large = (measure(prepare(size), repeats=1) for size in (SMALL, LARGE))
    return isinf(large) or large > max(SUSPICIOUS_FACTOR * small, NOISE_SECONDS)


def _confirm_growth(prepare: Prepare) -> Growth | None:
    """Measure one input; None if it is linear. A doubtful result counts if it repeats."""
    size, growth = TINY, None
    for _ in range(1 + RETRIES):
        growth = measure_growth(prepare, size=size, max_size=max(size, MAX_SIZE))
        if growth is None or growth.factor < MAX_GROWTH:
            return None
        if isinf(growth.factor):
            break
        size = 2 * growth.size
    return growth


def _search(
    pattern: AnyPattern, method: str, prefix: str, piece: str, end: str, size: int
) -> Callable[[], Any]:
    text: Any = prefix + piece * (size // len(piece)) + end
    if isinstance(pattern.pattern, bytes):
        text = text.encode("latin-1", "replace")
    search: Any = getattr(pattern, method)
    if method in ("sub", "subn"):
        return lambda: search(text[:0], text)
    return lambda: list(search(text)) if method == "finditer" else search(text)
