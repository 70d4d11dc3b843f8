"""A finding of `luthier doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: the part of the machine, whether it is fine, and a sentence."""

    part: str
    ok: bool
    sentence: str
