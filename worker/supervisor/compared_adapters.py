"""Adapters that engines of this installation compute as training does, by the comparisons of jobs.

Training processes write what is kept here, and are not trusted: of each kind of adapter one number,
and it decides nothing but whether a later job repeats the comparison.
"""

import json
import math
import re

from app import logs
from app.settings import Settings
from worker.run_folder import EngineCompared, atomic_write

log = logs.get_logger(__name__)

# A kind is of one version of the code and one base model: old ones are of no use.
MAX_KINDS = 256
KIND = re.compile(r"[0-9a-f]{64}")


def load(settings: Settings) -> dict[str, float]:
    """Load the strength of the strongest adapter of each kind, the one added last at the end."""
    try:
        content = json.loads((settings.home / "cache" / "compared.json").read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("compared_adapters.unreadable", reason=str(error))
        return {}
    items = content.items() if isinstance(content, dict) else ()
    return {kind: float(value) for kind, value in items if isinstance(value, int | float)}


def record(settings: Settings, compared: EngineCompared) -> None:
    """Record a comparison that agreed. Of two trainers' at once, one is lost and made again."""
    if not KIND.fullmatch(compared.adapter_kind) or not math.isfinite(compared.strength):
        return
    kinds = load(settings)
    strength = max(compared.strength, kinds.pop(compared.adapter_kind, 0.0))
    newest = dict([*kinds.items(), (compared.adapter_kind, strength)][-MAX_KINDS:])
    try:
        atomic_write(settings.home / "cache" / "compared.json", json.dumps(newest).encode())
    except OSError as error:
        log.warning("compared_adapters.not_recorded", reason=str(error))
