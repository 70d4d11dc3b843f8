"""The only reader of the environment. Every field is an environment variable of the same name."""

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The operator's choices. A user's choices travel with the job and are not here."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    luthier_home: Path = Field(Path(".luthier"), description="Folder of everything Luthier keeps")
    host: str = Field("127.0.0.1", description="Address the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="Port the API listens on")
    database_url: str | None = Field(
        None,
        pattern=r"^postgres(ql)?://",
        description="Postgres to use; embedded in LUTHIER_HOME when not set",
    )
    redis_url: str | None = Field(
        None,
        pattern=r"^(rediss?|redis\+socket|unix)://",
        description="Redis or Valkey to use; embedded in LUTHIER_HOME when not set",
    )
    s3_bucket: str | None = Field(
        None, description="Bucket for files and adapters; a folder in LUTHIER_HOME when not set"
    )
    s3_endpoint_url: str | None = Field(
        None, description="S3-compatible server; AWS's own when not set"
    )
    s3_region: str = Field("us-east-1", description="Region of the bucket")
    s3_access_key_id: str | None = Field(
        None, description="S3 key id; boto3's own search when not set"
    )
    s3_secret_access_key: str | None = Field(
        None, description="S3 secret; boto3's own search when not set", repr=False
    )
    models_file: Path = Field(Path("models.toml"), description="The catalogue of base models")
    engine_url: str = Field(
        "http://127.0.0.1:8100",
        description="Engine of the base models that name none",
    )
    engine_key: str | None = Field(
        None,
        pattern=r"^[!-~]+$",
        description="What requests to the engine at ENGINE_URL must bear; `luthier up` makes one "
        "for each start",
        repr=False,
    )
    organization: str = Field(
        "luthier", pattern=r"^[a-z0-9-]{1,32}$", description="Third part of a tuned model's name"
    )
    train_slots: int = Field(1, ge=1, description="Jobs one trainer runs at a time")
    max_running_jobs_per_project: int = Field(
        0, ge=0, description="Jobs of one project that train at a time; 0 means no limit"
    )
    max_queued_jobs_per_project: int = Field(
        1000, ge=0, description="Jobs of one project that wait at a time; 0 means no limit"
    )
    torch_threads: int = Field(
        0, ge=0, description="Threads a training process computes with; 0 means one per core"
    )
    training_command: str = Field(
        "",
        description="Command that trains a run folder, whose path is added to it, in place of our "
        "own process",
    )
    max_file_bytes: int = Field(512 * 2**20, ge=1, description="Largest file POST /v1/files takes")
    max_upload_bytes: int = Field(
        8 * 2**30, ge=1, description="Largest file that POST /v1/uploads takes in parts"
    )
    key_requests_per_minute: int = Field(
        60_000, ge=1, description="Requests of one API key in a minute"
    )
    key_bytes_per_minute: int = Field(
        16 * 2**30, ge=1, description="Bytes that one API key may send in a minute"
    )
    key_requests_at_once: int = Field(
        500,
        ge=1,
        description="Requests and streams of one API key that an API process serves at a time",
    )
    cors_origins: str = Field(
        "",
        description="Origins, with commas between, whose pages may call the API from a browser; "
        "`*` for all",
    )
    max_body_bytes: int = Field(
        16 * 2**20,
        ge=1,
        description="Largest body of a request to a model; others have 1 MiB at most",
    )
    results_as_base64: bool = Field(
        True, description="Serve result files as base64 of the CSV, as OpenAI does"
    )
    lease_seconds: float = Field(
        60, gt=0, description="A job whose trainer is silent for so long is given to another"
    )
    heartbeat_seconds: float = Field(10, gt=0, description="A trainer renews its lease so often")
    disconnected_seconds: float = Field(
        900,
        gt=0,
        description="A trainer that cannot reach the database for so long ends its training; the "
        "job continues from its last checkpoint",
    )
    poll_seconds: float = Field(
        2, gt=0, description="An idle worker looks for work so often, whatever the broker does"
    )
    hang_seconds: float = Field(
        600,
        gt=0,
        description="A training process that makes no step for so long is ended; "
        "before its first it has six times as long",
    )
    webhook_networks: str = Field(
        "",
        description="Networks that webhooks may go to although they are not public, by http and on "
        "any port too: `10.1.0.0/16,127.0.0.1`",
    )
    wandb_api_key: str | None = Field(
        None,
        description="Key of Weights & Biases, for jobs that ask for a run there",
        repr=False,
    )
    wandb_base_url: str | None = Field(
        None, description="Your own W&B server; wandb.ai when not set"
    )
    wandb_mode: Literal["online", "offline"] = Field(
        "online",
        description="offline: runs are written to LUTHIER_HOME/wandb, and no key is needed",
    )
    rest_seconds: float = Field(
        600,
        ge=0,
        description="A trainer on which three different jobs crashed in a row takes none for so "
        "long",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged"
    )

    @field_validator("webhook_networks")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for part in text.split(","):
            if part.strip():
                ip_network(part.strip())
        return text

    @property
    def has_wandb(self) -> bool:
        """Whether jobs may ask for a run at Weights & Biases."""
        return self.wandb_api_key is not None or self.wandb_mode == "offline"

    @property
    def home(self) -> Path:
        """`luthier_home` as an absolute path."""
        return self.luthier_home.expanduser().resolve()
