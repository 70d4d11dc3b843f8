"""Rules by which jobs are created, whether a request or a sweep creates them."""

from dataclasses import dataclass

from app.catalog import Catalog
from app.jobs.wandb_policy import WandbPolicy
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRules:
    """The operator's catalog, quotas and policies; 0 is unlimited."""

    catalog: Catalog
    max_queued: int = 0
    max_tokens: int = 0
    wandb_policy: WandbPolicy

    @classmethod
    def from_settings(cls, settings: Settings, catalog: Catalog) -> "JobRules":
        return cls(
            catalog=catalog,
            max_queued=settings.max_queued_jobs_per_project,
            max_tokens=settings.max_job_tokens,
            wandb_policy=WandbPolicy.from_settings(settings),
        )
