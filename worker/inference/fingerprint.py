"""Fingerprint of what computes answers, OpenAI's `system_fingerprint`.

With the same fingerprint, model and seed, answers are the same; a new version of the software or
other weights may change them.
"""

import hashlib
from functools import cache
from importlib.metadata import version

LIBRARIES = ("luthier", "torch", "transformers")


@cache
def system_fingerprint(*parts: object) -> str:
    """Fingerprint of the software, and of `parts`, such as a base model's source and device."""
    versions = [version(name) for name in LIBRARIES]
    digest = hashlib.sha256("\n".join(map(str, (*versions, *parts))).encode())
    return f"fp_{digest.hexdigest()[:10]}"
