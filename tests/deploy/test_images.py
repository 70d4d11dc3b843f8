"""Dockerfile: what its stages need is in them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGE = re.compile(r"^FROM \S+ AS kernels$(.*?)^FROM ", re.MULTILINE | re.DOTALL)


def test_kernels_are_compiled_by_the_files_of_their_stage_alone(tmp_path: Path) -> None:
    """The stage has Python and a compiler, and no packages."""
    match = STAGE.search((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert match is not None
    copies = re.findall(r"^COPY (.+) (\S+)$", match[1], re.MULTILINE)
    assert copies
    for sources, target in copies:
        for source in sources.split():
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target)
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, tmp_path / target)
    command = [sys.executable, "-S", "-c", "import worker.inference.native.build"]
    subprocess.run(command, cwd=tmp_path, check=True)
