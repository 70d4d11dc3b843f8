"""The lock files of requirements/, and the names of the files that their hashes stand for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
# In the format of sha256sum: a lock file names hashes only.
WHEELS_FILE = REQUIREMENTS / "wheels.sha256"


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One pin of a lock file, with the sha256 of every file that may be installed for it."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The pinned version. Raises ValueError if no version is pinned."""
        operator, _, version = str(self.requirement.specifier).rpartition("==")
        if operator or not version:
            raise ValueError(f"{self.requirement} pins no version")
        return version


def lock_paths() -> list[Path]:
    """All lock files, those of other engines included."""
    return sorted(REQUIREMENTS.rglob("*.lock"))


def read_lock(path: Path) -> Iterator[LockedPackage]:
    """Read the pins of a lock file."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = line.split("--hash=sha256:")
            yield LockedPackage(Requirement(requirement), tuple(text.strip() for text in hashes))


def read_wheels() -> dict[str, str]:
    """Read the file name of each hash."""
    wheels = {}
    for line in WHEELS_FILE.read_text().splitlines():
        sha256, name = line.split()
        wheels[sha256] = name
    return wheels
