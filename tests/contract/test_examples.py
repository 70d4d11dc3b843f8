"""Examples of the documentation run as pasted against the live stack."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.running_stack import ROOT, Stack

pytestmark = pytest.mark.live

DOCUMENTED_URL = "http://127.0.0.1:8000"
CLIENT = f"""from pathlib import Path

from openai import OpenAI

client = OpenAI(
    base_url="{DOCUMENTED_URL}/v1", api_key=Path(".luthier/api_key").read_text().strip()
)
"""
EXAMPLE = re.compile(
    r"^<!-- test: run(?P<with_client> with client)? -->\n"
    r"```(?P<language>python|sh)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """A marked block of a page."""

    name: str
    language: str
    code: str


def examples() -> list[Example]:
    """All marked blocks. A block that several pages show runs once."""
    found: dict[str, Example] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for match in EXAMPLE.finditer(text):
            code = (CLIENT if match["with_client"] else "") + match["code"]
            line = text.count("\n", 0, match.start()) + 1
            name = f"{page.relative_to(ROOT)}:{line}"
            found.setdefault(code, Example(name, match["language"], code))
    return list(found.values())


@pytest.fixture
def checkout(tmp_path: Path, stack: Stack) -> Path:
    """A folder that looks like a checkout after `make up`."""
    (tmp_path / ".luthier").symlink_to(stack.home)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "models.toml").symlink_to(ROOT / "models.toml")
    return tmp_path


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_example_runs_as_pasted(example: Example, checkout: Path, stack: Stack) -> None:
    code = example.code.replace(DOCUMENTED_URL, stack.url)
    shell = ["bash", "-euo", "pipefail", "-c", code]
    command = shell if example.language == "sh" else [sys.executable, "-c", code]
    environment = {name: os.environ[name] for name in ("HOME", "PATH")}
    result = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert '"error"' not in result.stdout, result.stdout
