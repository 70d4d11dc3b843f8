"""Options of a job's rendering that its rows depend on, saved with the adapter for serving."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Key of the options in the metadata of an adapter's weights, which PEFT and others leave alone.
METADATA_KEY = "luthier_rendering"


@dataclass(frozen=True, slots=True)
class RenderingOptions:
    """Values that a chat template reads from elsewhere than the messages.

    now       time of `strftime_now`, in ISO 8601; None is the clock's
    thinking  whether answers may begin with reasoning; None is the template's default
    """

    now: str | None = None
    thinking: bool | None = None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str] | None) -> "RenderingOptions":
        """Read the options in an adapter's metadata. Adapters of earlier versions have none."""
        try:
            saved = json.loads((metadata or {}).get(METADATA_KEY, "{}"))
        except ValueError:
            return cls()
        if not isinstance(saved, dict):
            return cls()
        now, thinking = saved.get("now"), saved.get("thinking")
        return cls(
            now=now if isinstance(now, str) and _is_time(now) else None,
            thinking=thinking if isinstance(thinking, bool) else None,
        )

    def to_metadata(self, source: str) -> dict[str, str]:
        """Make the metadata of an adapter: the options that its template, `source`, can read."""
        values: dict[str, Any] = {}
        if self.now is not None and "strftime_now" in source:
            values["now"] = self.now
        if self.thinking is not None and "think" in source:
            values["thinking"] = self.thinking
        return {METADATA_KEY: json.dumps(values, sort_keys=True)} if values else {}

    def strftime_now(self, format: str) -> str:
        """Format the time, as templates do."""
        # Templates expect the local time without a zone.
        now = datetime.now() if self.now is None else datetime.fromisoformat(self.now)  # noqa: DTZ005
        return now.strftime(format)


DEFAULT_OPTIONS = RenderingOptions()


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
