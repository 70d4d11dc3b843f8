"""Cache of facts about training files, and a bound on the views made of them at a time."""

from dataclasses import dataclass, field

from app.http.fair_limiter import FairLimiter
from app.training_data.reasoning import ReasoningFinder
from app.training_data.statistics import FileScans

# Each holds up to 16 MiB of a file.
MAX_CONCURRENT_VIEWS = 16
# What one project may take of the places that the others leave.
MAX_VIEW_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class TrainingDataCache:
    """One per process, for one event loop."""

    reasoning: ReasoningFinder = field(default_factory=ReasoningFinder)
    scans: FileScans = field(default_factory=FileScans)
    slots: FairLimiter = field(
        default_factory=lambda: FairLimiter(MAX_CONCURRENT_VIEWS, share=MAX_VIEW_SHARE)
    )
