"""Write the software bill of materials: every locked package, in CycloneDX's JSON format.

    python -m scripts.generate_sbom build/sbom.cdx.json

Each package lists the wheels that may be installed for it, with their sha256.
"""

import json
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.lock_files import lock_paths, read_lock, read_wheels

ROOT = Path(__file__).resolve().parents[1]


def build_sbom() -> dict[str, Any]:
    """Build the document. It depends on the locks alone, so equal locks give equal documents."""
    components = [*package_components()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    content = json.dumps(components)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "luthier",
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
    }


def package_components() -> Iterator[dict[str, Any]]:
    """The components of all lock files: one for each version of a package."""
    locks: dict[tuple[str, str], list[str]] = {}
    hashes: dict[tuple[str, str], set[str]] = {}
    for path in lock_paths():
        for package in read_lock(path):
            key = (package.name, package.version)
            locks.setdefault(key, []).append(path.stem)
            hashes.setdefault(key, set()).update(package.hashes)
    wheels = read_wheels()
    for name, version in sorted(locks):
        files = [_wheel(wheels[sha256], sha256) for sha256 in hashes[name, version]]
        yield {
            "type": "library",
            "bom-ref": _package_url(name, version),
            "name": name,
            "version": version,
            "purl": _package_url(name, version),
            "properties": [
                {"name": "luthier:lock", "value": lock} for lock in locks[name, version]
            ],
            "components": sorted(files, key=lambda file: str(file["name"])),
        }


def _wheel(name: str, sha256: str) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"{name}#{sha256}",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    }


def _package_url(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version.replace('+', '%2B')}"


def main() -> int:
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(build_sbom(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
