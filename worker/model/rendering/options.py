"""Options of a job's rendering that its rows depend on, saved with the adapter for serving."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

# Key of the options in adapter_config.json. PEFT ignores unknown keys.
RENDERING_CONFIG_KEY = "luthier_rendering"


@dataclass(frozen=True, slots=True)
class RenderingOptions:
    """Values that a chat template reads from elsewhere than the messages.

    now       time of `strftime_now`, in ISO 8601; None is the clock's
    thinking  whether answers may begin with reasoning; None is the template's default
    """

    now: str | None = None
    thinking: bool | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "RenderingOptions":
        """Read the options in an adapter's config. Adapters of earlier versions have none."""
        saved = config.get(RENDERING_CONFIG_KEY)
        if not isinstance(saved, dict):
            return cls()
        now, thinking = saved.get("now"), saved.get("thinking")
        return cls(
            now=now if isinstance(now, str) and _is_time(now) else None,
            thinking=thinking if isinstance(thinking, bool) else None,
        )

    def to_config(self) -> dict[str, Any]:
        """Make the entry of an adapter's config."""
        return {RENDERING_CONFIG_KEY: asdict(self)}

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
