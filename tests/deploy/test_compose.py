"""docker-compose.yml: secrets without defaults, least privilege, networks by need."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_SECRET_ACCESS_KEY", "LUTHIER_ENGINE_API_KEY")
# Processes that talk to other machines: the API's port, webhooks.
OUTSIDE = {"api", "io"}
ENGINES = {"engine", "engine-gpu"}
TRAINERS = {"trainer", "trainer-gpu"}

each_service = pytest.mark.parametrize("name", SERVICES)


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


@pytest.mark.parametrize("secret", SECRETS)
def test_a68_no_secret_has_a_default(secret: str) -> None:
    uses = re.findall(rf"\$\{{{secret}(\W[^}}]*)\}}", TEXT)
    assert uses
    assert {use.partition("?")[0] for use in uses} == {":"}, "set and not empty, or nothing starts"
    assert all("scripts/compose_secrets.sh" in use for use in uses), "the message says what to do"


def test_a68_the_script_generates_each_secret_anew() -> None:
    script = ROOT / "scripts" / "compose_secrets.sh"
    first, second = (subprocess.check_output([script], text=True).splitlines() for _ in range(2))
    assert [line.partition("=")[0] for line in first] == list(SECRETS)
    values = {line.partition("=")[2] for line in first + second}
    assert len(values) == 2 * len(SECRETS)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in values)


@each_service
def test_a68_containers_have_no_more_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service
    assert service["read_only"] or name == "storage"
    assert service["pids_limit"]
    assert service["mem_limit"]
    if "build" in service:
        assert "cap_add" not in service


def test_a68_only_the_api_has_a_port_and_only_on_this_machine() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports.keys() == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in ports["api"])


@each_service
def test_a68_a_route_to_other_machines_is_for_the_api_and_io_alone(name: str) -> None:
    assert ("outside" in networks(name)) == (name in OUTSIDE)
    internal = {
        key for key, network in COMPOSE["networks"].items() if (network or {}).get("internal")
    }
    assert networks(name) - {"outside"} <= internal


def test_a68_neither_engine_nor_trainer_is_where_it_has_no_business() -> None:
    for name in ENGINES:
        assert networks(name) == {"objects", "engine"}
        assert SERVICES[name]["environment"].keys().isdisjoint({"DATABASE_URL", "REDIS_URL"})
        assert SERVICES[name]["environment"]["LUTHIER_ENGINE_API_KEY"]
    for name in TRAINERS:
        assert networks(name) == {"data", "objects"}
        assert "LUTHIER_ENGINE_API_KEY" not in SERVICES[name]["environment"]
    assert SERVICES["api"]["environment"]["LUTHIER_ENGINE_API_KEY"]


def test_a68_images_do_not_run_as_root() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    final = [stage for stage in stages if stage.split(" AS ")[1].split()[0] in ("api", "worker")]
    assert len(final) == 2
    assert all("\nUSER luthier\n" in stage for stage in final)


def test_a65_images_name_a_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) >= 4
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]*(@sha256:[0-9a-f]{64})?", image), image
