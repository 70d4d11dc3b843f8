"""Settings: environment variables, typed values, secrets, and variables under old names."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import RENAMED, Settings, environment_variable

UNPREFIXED = {
    "WANDB_ENTITY",
    "PORT",
    "DATABASE_URL",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "REDIS_URL",
    "S3_BUCKET",
    "S3_ENDPOINT_URL",
    "S3_REGION",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
}


def test_only_names_that_other_tools_share_have_no_prefix() -> None:
    names = {environment_variable(field) for field in Settings.model_fields}
    assert {name for name in names if not name.startswith("LUTHIER_")} == UNPREFIXED


def test_every_renamed_variable_leads_to_one_that_exists() -> None:
    names = {environment_variable(field) for field in Settings.model_fields}
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_name_ends_the_start_with_the_new_one(
    monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    monkeypatch.setenv(old, "7")
    with pytest.raises(ValidationError, match=f"{old} is now called {RENAMED[old]}"):
        Settings()
    monkeypatch.setenv(old, "")
    Settings()


def test_names_that_shells_export_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "workstation")
    assert Settings().host == "127.0.0.1"


def test_values_have_units_and_lists_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_MAX_FILE_BYTES", "3 MiB")
    monkeypatch.setenv("LUTHIER_CORS_ORIGINS", "https://a.example, https://b.example,")
    monkeypatch.setenv("LUTHIER_WEBHOOK_ALLOWED_NETWORKS", "10.1.0.0/16, 127.0.0.1,fd12::/16,")
    settings = Settings()
    assert settings.max_file_bytes == 3 * 2**20
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.webhook_allowed_networks == tuple(
        map(ip_network, ("10.1.0.0/16", "127.0.0.1", "fd12::/16"))
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUTHIER_WEBHOOK_ALLOWED_NETWORKS", "10.0.0.0/33"),
        ("LUTHIER_MAX_BODY_BYTES", "a lot"),
        ("LUTHIER_ENGINE_API_KEY", "with space"),
        ("PORT", "70000"),
    ],
)
def test_values_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_model_is_divided_among_several_processes_alone() -> None:
    with pytest.raises(ValidationError, match="set LUTHIER_TRAINING_PROCESSES to 2 or more"):
        Settings(training_sharded=True)
    assert Settings(training_sharded=True, training_processes=2).training_sharded


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        database_url="postgresql://u:hidden-1@h/d",
        redis_url="redis://:hidden-2@h/0",
        s3_secret_access_key="hidden-3",
        engine_api_key="hidden-4",
        wandb_api_key="hidden-5",
    )
    assert "hidden" not in repr(settings)


def test_another_process_reads_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(
        home=tmp_path,
        port=8123,
        models_file=tmp_path / "models.toml",
        engine_api_key="secret",
        cors_origins=("https://a.example", "https://b.example"),
        webhook_allowed_networks=(ip_network("127.0.0.1"),),
        max_file_bytes=5,
        results_as_base64=False,
    )
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
