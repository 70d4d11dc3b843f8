"""Settings: the operator's choices, read from the environment. Nothing else reads it."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "LUTHIER_"
# Names of the versions before 0.1.0 without the prefix. HOST and LOG_LEVEL are left out: shells and
# other programs export them, so they may not have been set for Luthier.
RENAMED = {
    "CORS_ORIGINS": "LUTHIER_CORS_ORIGINS",
    "DISCONNECTED_SECONDS": "LUTHIER_DATABASE_OUTAGE_TIMEOUT_SECONDS",
    "ENGINE_KEY": "LUTHIER_ENGINE_API_KEY",
    "ENGINE_URL": "LUTHIER_ENGINE_URL",
    "HANG_SECONDS": "LUTHIER_TRAINING_STALL_TIMEOUT_SECONDS",
    "HEARTBEAT_SECONDS": "LUTHIER_HEARTBEAT_INTERVAL_SECONDS",
    "KEY_BYTES_PER_MINUTE": "LUTHIER_RATE_LIMIT_BYTES_PER_MINUTE",
    "KEY_REQUESTS_AT_ONCE": "LUTHIER_MAX_CONCURRENT_REQUESTS_PER_KEY",
    "KEY_REQUESTS_PER_MINUTE": "LUTHIER_RATE_LIMIT_REQUESTS_PER_MINUTE",
    "LEASE_SECONDS": "LUTHIER_LEASE_SECONDS",
    "MAX_BODY_BYTES": "LUTHIER_MAX_BODY_BYTES",
    "MAX_FILE_BYTES": "LUTHIER_MAX_FILE_BYTES",
    "MAX_QUEUED_JOBS_PER_PROJECT": "LUTHIER_MAX_QUEUED_JOBS_PER_PROJECT",
    "MAX_RUNNING_JOBS_PER_PROJECT": "LUTHIER_MAX_RUNNING_JOBS_PER_PROJECT",
    "MAX_UPLOAD_BYTES": "LUTHIER_MAX_UPLOAD_BYTES",
    "MODELS_FILE": "LUTHIER_MODELS_FILE",
    "ORGANIZATION": "LUTHIER_ORGANIZATION_SLUG",
    "POLL_SECONDS": "LUTHIER_POLL_INTERVAL_SECONDS",
    "REST_SECONDS": "LUTHIER_TRAINER_COOLDOWN_SECONDS",
    "RESULTS_AS_BASE64": "LUTHIER_RESULTS_AS_BASE64",
    "TORCH_THREADS": "LUTHIER_TORCH_THREADS",
    "TRAINING_COMMAND": "LUTHIER_TRAINING_COMMAND",
    "TRAIN_SLOTS": "LUTHIER_TRAINER_CONCURRENCY",
    "WEBHOOK_NETWORKS": "LUTHIER_WEBHOOK_ALLOWED_NETWORKS",
}


def _split_at_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


# Lists are written with commas between their items, not as JSON.
CommaSeparated = BeforeValidator(_split_at_commas)


def _require_header_characters(secret: SecretStr) -> SecretStr:
    """Reject characters that cannot appear in an Authorization header."""
    if not all("!" <= character <= "~" for character in secret.get_secret_value()):
        raise PydanticCustomError("secret", "use printable ASCII characters without spaces")
    return secret


def _require_tls(url: str) -> str:
    """Reject the URL of another machine without TLS: who may log in would be decided by others."""
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not (is_local or parts.scheme == "https") or not parts.hostname or parts.query:
        raise PydanticCustomError("url", "use a URL that begins with https://, without a query")
    return url


OidcRole = Annotated[str, StringConstraints(pattern=r"^(admin|project:.+)$")]


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


class Settings(BaseSettings):
    """The operator's choices; `environment_variable` names the variable of each field.

    A user's choices travel with the job and are not here. Sizes may carry a unit (`512MiB`).
    Raises ValidationError for a value that cannot be used, and for a variable under an old name.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    home: Annotated[Path, AfterValidator(_absolute)] = Field(
        Path(".luthier"), validate_default=True, description="Folder of everything Luthier keeps"
    )
    host: str = Field("127.0.0.1", description="Address the API listens on")
    port: int = Field(
        8000, ge=1, le=65535, validation_alias="PORT", description="Port the API listens on"
    )
    database_url: str | None = Field(
        None,
        pattern=r"^postgres(ql)?://",
        validation_alias="DATABASE_URL",
        description="Postgres to use; embedded in LUTHIER_HOME when not set",
        repr=False,
    )
    redis_url: str | None = Field(
        None,
        pattern=r"^(rediss?|redis\+socket|unix)://",
        validation_alias="REDIS_URL",
        description="Redis or Valkey to use; embedded in LUTHIER_HOME when not set",
        repr=False,
    )
    s3_bucket: str | None = Field(
        None,
        validation_alias="S3_BUCKET",
        description="Bucket for files and adapters; a folder in LUTHIER_HOME when not set",
    )
    s3_endpoint_url: str | None = Field(
        None,
        validation_alias="S3_ENDPOINT_URL",
        description="S3-compatible server; AWS's own when not set",
    )
    s3_region: str = Field(
        "us-east-1", validation_alias="S3_REGION", description="Region of the bucket"
    )
    s3_access_key_id: str | None = Field(
        None,
        validation_alias="S3_ACCESS_KEY_ID",
        description="S3 access key id; found by boto3's credential chain when not set",
    )
    s3_secret_access_key: SecretStr | None = Field(
        None,
        validation_alias="S3_SECRET_ACCESS_KEY",
        description="S3 secret access key; found by boto3's credential chain when not set",
    )
    models_file: Path = Field(Path("models.toml"), description="Catalog of base models")
    prices_file: Path | None = Field(
        None, description="Prices of tokens, in TOML; everything costs nothing when not set"
    )
    engine_url: str = Field(
        "http://127.0.0.1:8100", description="Engine of the base models that name none"
    )
    engine_api_key: Annotated[SecretStr, AfterValidator(_require_header_characters)] | None = Field(
        None,
        description="Bearer key of the engine at LUTHIER_ENGINE_URL; `luthier up` generates one at "
        "each start",
    )
    managed_engines: dict[str, str] = Field(
        {},
        description='URLs of the engines of `engine = "vllm"` and `"sglang"`, by base model, as '
        "JSON; set by `luthier up`, which starts them",
    )
    organization_slug: str = Field(
        "luthier",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="Organization in the names of fine-tuned models",
    )
    trainer_concurrency: int = Field(
        1,
        ge=1,
        description="Jobs that one trainer runs at a time, each on a GPU of its own if there are "
        "enough",
    )
    training_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that train one chat or preference job together, each on a GPU of "
        "its own, or on a share of the cores",
    )
    training_sharded: bool = Field(
        False,
        description="Divide the base model among the processes of a job, for models that do not "
        "fit into one GPU, instead of keeping it whole in each",
    )
    max_running_jobs_per_project: int = Field(
        0, ge=0, description="Jobs of one project that train at a time; 0 means no limit"
    )
    max_queued_jobs_per_project: int = Field(
        1000, ge=0, description="Queued jobs of one project; 0 means no limit"
    )
    max_job_tokens: int = Field(
        10**9,
        ge=0,
        description="Tokens that a job may train, its training file times its epochs; 0 means no "
        "limit",
    )
    max_job_hours: float = Field(
        168,
        ge=0,
        description="Hours that a job may train, in all its attempts; it then fails, and its last "
        "checkpoint is kept as a model. 0 means no limit",
    )
    trainer_time_slice_seconds: float = Field(
        900,
        ge=0,
        description="Time after which a running job yields its trainer at a checkpoint, if a job "
        "of a project that had less time waits; 0 means never",
    )
    torch_threads: int = Field(
        0,
        ge=0,
        description="CPU threads of a training process; 0 means the cores divided by "
        "`LUTHIER_TRAINER_CONCURRENCY`",
    )
    deterministic_training: bool = Field(
        True,
        description="Whether training on a GPU uses only kernels that give the same bits each "
        "time; `false` is faster",
    )
    native_kernels: bool = Field(
        True,
        description="Whether the engine and training use native kernels on a CPU; `false` leaves "
        "all to torch, which is slower",
    )
    training_int8: bool = Field(
        False,
        description="Whether training of chat models on a CPU multiplies by the base model's "
        "weights in 8 bits, where the model, the processor and native kernels can; the log says "
        "where not",
    )
    speculative_decoding: bool = Field(
        True,
        description="Whether single streams decode several tokens in a step, where native kernels "
        "compute; answers are the same",
    )
    training_command: str = Field(
        "",
        description="Command that trains a run folder, given as its last argument, in place of the "
        "built-in training process",
    )
    training_fork_server: bool = Field(
        True,
        description="Whether a trainer keeps a process of about 240 MB that has loaded what "
        "training needs, and forks each job's process from it, which saves seconds; Linux only",
    )
    max_file_bytes: ByteSize = Field(
        ByteSize(512 * 2**20), ge=1, description="Largest file that POST /v1/files accepts"
    )
    max_upload_bytes: ByteSize = Field(
        ByteSize(8 * 2**30),
        ge=1,
        description="Largest file that POST /v1/uploads accepts in parts",
    )
    max_storage_bytes_per_project: ByteSize = Field(
        ByteSize(100 * 2**30),
        ge=0,
        description="Stored bytes of one project, with checkpoints, models and parts of uploads, "
        "above which it cannot upload; 0 means no limit",
    )
    max_files_per_project: int = Field(
        100_000, ge=0, description="Stored files of one project; 0 means no limit"
    )
    max_open_uploads_per_project: int = Field(
        100, ge=0, description="Unfinished multi-part uploads of one project; 0 means no limit"
    )
    upload_retention_days: float = Field(
        7, ge=0, description="Days to keep the rows of ended multi-part uploads; 0 means forever"
    )
    job_event_retention_days: float = Field(
        0, ge=0, description="Days to keep the events of ended jobs; 0 means forever"
    )
    job_retention_days: float = Field(
        0,
        ge=0,
        description="Days to keep ended jobs that have no model, or whose models are deleted; 0 "
        "means forever",
    )
    deleted_row_retention_days: float = Field(
        1,
        ge=0,
        description="Days to keep the rows of deleted files and models that nothing refers to; 0 "
        "means forever",
    )
    archived_project_retention_days: float = Field(
        0,
        ge=0,
        description="Days to keep the files and models of archived projects; 0 means forever",
    )
    stored_completions: bool = Field(
        True,
        description="Store responses, and chat completions that clients ask to store "
        "(`store: true`)",
    )
    stored_completion_retention_days: float = Field(
        30, ge=0, description="Days to keep stored chat completions and responses; 0 means forever"
    )
    audit_log_retention_days: float = Field(
        365, ge=0, description="Days to keep the organization's audit log; 0 means forever"
    )
    conversation_retention_days: float = Field(
        0, ge=0, description="Days to keep conversations after their last change; 0 means forever"
    )
    idempotency_retention_hours: float = Field(
        24,
        gt=0,
        le=24,
        description="Hours to keep the responses that repeated requests get",
    )
    export_retention_hours: float = Field(
        24, gt=0, description="Hours to keep the archive of an exported model after its last use"
    )
    max_export_bytes_per_project: ByteSize = Field(
        ByteSize(32 * 2**30),
        ge=0,
        description="Bytes of one project's archives of exported models, of which those used "
        "longest ago are deleted first; the newest one is always kept; 0 means no limit",
    )
    disk_reserve_bytes: ByteSize = Field(
        ByteSize(2**30),
        ge=0,
        description="Free disk space below which uploads are refused, and below a quarter of which "
        "trainers wait; 0 means no reserve",
    )
    rate_limit_requests_per_minute: int = Field(
        60_000, ge=1, description="Requests per minute of one API key"
    )
    rate_limit_bytes_per_minute: ByteSize = Field(
        ByteSize(16 * 2**30), ge=1, description="Bytes that one API key may send per minute"
    )
    max_concurrent_requests_per_key: int = Field(
        500,
        ge=1,
        description="Requests and streams of one API key that an API process serves at a time",
    )
    cpu_pool_processes: int = Field(
        0,
        ge=0,
        description="Processes in which one API process validates files and runs graders; 0 means "
        "one per core but one",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="Origins, separated by commas, whose pages may call the API from a browser; "
        "`*` for all",
    )
    console: bool = Field(True, description="Serve the web console at /console")
    path_prefix: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path under which a reverse proxy serves the API, and which it removes from "
        "requests; the console's links start with it",
    )
    public_origin: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9._:\[\]-]+$",
        description="Scheme and host under which browsers reach the service, "
        "`https://luthier.example.com`; as each request names it when not set",
    )
    oidc_issuer: Annotated[str, AfterValidator(_require_tls)] | None = Field(
        None,
        description="Issuer of the OpenID Connect provider that users of the console log in with, "
        "`https://login.example.com/realms/main`; no such log-in when not set",
    )
    oidc_client_id: str | None = Field(
        None, min_length=1, description="Id of the console as a client of the provider"
    )
    oidc_client_secret: SecretStr | None = Field(
        None, description="Secret of this client; a public client, with PKCE alone, when not set"
    )
    oidc_scopes: str = Field(
        "openid profile email",
        pattern=r"^openid( [!#-\[\]-~]+)*$",
        description="Scopes to ask the provider for, separated by spaces; some need one for groups",
    )
    oidc_claim: str = Field(
        "groups",
        min_length=1,
        description="Claim with the values of `LUTHIER_OIDC_ROLES`, a text or a list of texts; "
        "`a.b` also means the claim `b` in the claim `a`",
    )
    oidc_roles: dict[str, tuple[OidcRole, ...]] = Field(
        {},
        description="Roles by value of the claim, as JSON: `admin`, `project:` with a project's id "
        'or name, `project:*` for all: `{"ml": ["project:research"], "ops": ["admin"]}`',
    )
    oidc_name: str = Field(
        "single sign-on", min_length=1, description="Name of the provider on the log-in page"
    )
    max_body_bytes: ByteSize = Field(
        ByteSize(16 * 2**20),
        ge=1,
        description="Largest body of a request to a model; other bodies are limited to 1 MiB",
    )
    results_as_base64: bool = Field(
        True, description="Serve result files as base64 of the CSV, as OpenAI does"
    )
    lease_seconds: float = Field(
        60,
        gt=0,
        description="Time without a heartbeat after which a job is given to another trainer",
    )
    heartbeat_interval_seconds: float = Field(
        10, gt=0, description="Interval at which a trainer renews its lease"
    )
    database_outage_timeout_seconds: float = Field(
        900,
        gt=0,
        description="Time without the database after which a trainer stops its training; the job "
        "resumes from its last checkpoint",
    )
    poll_interval_seconds: float = Field(
        2,
        gt=0,
        description="Interval at which an idle worker looks for work without being notified",
    )
    training_stall_timeout_seconds: float = Field(
        600,
        gt=0,
        description="Time without a step after which a training process is killed; six times as "
        "long before its first step",
    )
    webhook_allowed_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, CommaSeparated] = (
        Field(
            (),
            description="Private networks, separated by commas, that webhooks may be sent to, over "
            "http and on any port too: `10.1.0.0/16,127.0.0.1`",
        )
    )
    hub_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias="HF_ENDPOINT",
        description="Model hub of `hf:` sources, or a mirror of it",
    )
    hub_token: SecretStr | None = Field(
        None,
        validation_alias="HF_TOKEN",
        description="Token for gated and private repositories of the hub; only the download of a "
        "base model gets it",
    )
    wandb_api_key: SecretStr | None = Field(
        None,
        validation_alias="WANDB_API_KEY",
        description="API key of Weights & Biases, for jobs that ask for a run there",
    )
    wandb_entity: str | None = Field(
        None,
        validation_alias="WANDB_ENTITY",
        description="Entity of runs whose jobs name none; the key's default when not set",
    )
    wandb_allowed_entities: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="Entities, separated by commas, that jobs may name in addition to "
        "`WANDB_ENTITY`",
    )
    wandb_project_template: str = Field(
        "{project_id}-{name}",
        pattern=r"\{name\}",
        description="W&B project of a run, from the id of the project that owns the job and the "
        "name that the job asks for; `{name}` lets all projects write to the same W&B projects",
    )
    wandb_base_url: str | None = Field(
        None,
        validation_alias="WANDB_BASE_URL",
        description="Your own W&B server; wandb.ai when not set",
    )
    wandb_mode: Literal["online", "offline"] = Field(
        "online",
        validation_alias="WANDB_MODE",
        description="`offline` writes runs to LUTHIER_HOME/wandb and needs no API key",
    )
    trainer_cooldown_seconds: float = Field(
        600,
        ge=0,
        description="Time a trainer takes no jobs after crashes of three different jobs in a row",
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="Networks, separated by commas, of the reverse proxies in front of the API: "
        "the address of a client is read from the header that they set; from no one else",
    )
    proxy_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for",
        description="Header in which trusted proxies name their client; the other one is ignored",
    )
    security_log: str = Field(
        "",
        description="File of the security log; `-` is standard error, and "
        "`logs/security.log` in LUTHIER_HOME when not set",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged"
    )

    @model_validator(mode="before")
    @classmethod
    def _reject_renamed_variables(cls, values: Any) -> Any:
        """Reject a variable under its old name, which would otherwise be ignored silently."""
        for old, new in RENAMED.items():
            if os.environ.get(old):
                raise PydanticCustomError(
                    "renamed_variable",
                    "The environment variable {old} is now called {new}. Rename it.",
                    {"old": old, "new": new},
                )
        return values

    @model_validator(mode="after")
    def _require_oidc_client(self) -> Self:
        if self.oidc_issuer is not None and self.oidc_client_id is None:
            raise PydanticCustomError(
                "missing_client", "LUTHIER_OIDC_ISSUER needs LUTHIER_OIDC_CLIENT_ID."
            )
        return self

    @model_validator(mode="after")
    def _require_processes_to_shard(self) -> Self:
        if self.training_sharded and self.training_processes == 1:
            raise PydanticCustomError(
                "missing_processes",
                "LUTHIER_TRAINING_SHARDED divides the base model among the processes of a job: set "
                "LUTHIER_TRAINING_PROCESSES to 2 or more.",
            )
        return self

    @property
    def has_wandb(self) -> bool:
        """True if jobs may ask for a run at Weights & Biases."""
        return self.wandb_api_key is not None or self.wandb_mode == "offline"

    @property
    def security_log_path(self) -> Path | None:
        """File of the security log; None is standard error."""
        if self.security_log == "-":
            return None
        return Path(self.security_log or self.home / "logs" / "security.log")

    def to_environment(self) -> dict[str, str]:
        """The environment variables from which another process reads the same settings."""
        # A child process may have another working directory, which a relative path depends on.
        fields = {**dict(self), "models_file": self.models_file.resolve()}
        return {
            environment_variable(name): _to_text(value)
            for name, value in fields.items()
            if value is not None
        }


def environment_variable(name: str) -> str:
    """The environment variable of a field of Settings."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def _to_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)
