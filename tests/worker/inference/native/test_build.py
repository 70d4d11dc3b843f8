"""Compiling native kernels: once, whole, private, and torch's operations where it cannot be."""

import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from app.c_compiler import list_c_compilers
from worker.inference.native import build
from worker.inference.native.build import KernelsUnavailable, find_or_build
from worker.inference.native.library import load_kernels

# Replaces the compilers by shell scripts; without any, there is no compiler.
Use = Callable[..., None]

needs_compiler = pytest.mark.skipif(not list_c_compilers(), reason="no C compiler")


@pytest.fixture(autouse=True)
def _nothing_is_prebuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")


def write_compiler(folder: Path, script: str, name: str = "compiler") -> list[str]:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o700)
    return [str(path)]


@pytest.fixture
def use_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    def use(*scripts: str) -> None:
        commands = [
            write_compiler(tmp_path, script, f"compiler-{index}")
            for index, script in enumerate(scripts)
        ]
        monkeypatch.setattr(build, "list_c_compilers", lambda: commands)

    return use


# What a compiler does that writes its output: the last but one argument follows -o.
COPY_SOURCE = 'while [ "$1" != -o ]; do shift; done; echo "compiled $$" > "$2"'


class TestFallback:
    def test_without_a_compiler_the_log_says_so(self, use_compiler: Use, tmp_path: Path) -> None:
        use_compiler()
        with capture_logs() as entries:
            assert load_kernels(tmp_path / "kernels", torch.float32) is None
        (entry,) = entries
        assert entry["event"] == "kernels.unavailable"
        assert "no C compiler" in entry["reason"]

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("echo broken >&2; exit 1", "failed: broken"),
            ("exit 0", "wrote no file"),
            (COPY_SOURCE, "too short"),
        ],
        ids=["error", "no output", "not a library"],
    )
    def test_a_compiler_that_fails(
        self, use_compiler: Use, tmp_path: Path, script: str, reason: str
    ) -> None:
        use_compiler(script)
        with capture_logs() as entries:
            assert load_kernels(tmp_path / "kernels", torch.float32) is None
        entry = entries[-1]
        assert entry["event"] == "kernels.unavailable"
        assert reason in entry["reason"]

    @pytest.mark.parametrize("broken", ["echo broken >&2; exit 1", "exit 0"])
    def test_after_a_broken_compiler_the_next_one_is_tried(
        self, use_compiler: Use, tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        use_compiler(broken, COPY_SOURCE)
        # A service that ran in this process may have set a level of its own.
        with caplog.at_level(logging.WARNING):
            path = find_or_build(tmp_path / "kernels", "float32")
        assert path.read_text().startswith("compiled")
        (record,) = caplog.records
        assert record.getMessage().startswith("kernels.compiler_failed: ")

    def test_a_compiler_that_cannot_be_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "compiler"
        path.write_bytes(b"\x7fELF of another architecture")
        path.chmod(0o700)
        monkeypatch.setattr(build, "list_c_compilers", lambda: [[str(path)]])
        with pytest.raises(KernelsUnavailable, match="cannot be run"):
            find_or_build(tmp_path / "kernels", "float32")

    def test_a_compiler_that_hangs_is_killed_with_its_children(
        self, use_compiler: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(build, "TIMEOUT_SECONDS", 0.2)
        # The child holds the pipe of errors open, as cc1 does.
        use_compiler("sleep 1000 & wait")
        with pytest.raises(KernelsUnavailable, match="too long"):
            find_or_build(tmp_path / "kernels", "float32")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_folder_of_another_user_is_not_used(self, tmp_path: Path) -> None:
        folder = tmp_path / "kernels"
        folder.mkdir(mode=0o700)
        os.chown(folder, 12345, 12345)
        with pytest.raises(KernelsUnavailable, match="another user"):
            find_or_build(folder, "float32")

    @pytest.mark.skipif(os.geteuid() != 0, reason="files of root")
    def test_sandboxed_training_uses_what_root_compiled(
        self, use_compiler: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_compiler(COPY_SOURCE)
        build.prepare(tmp_path)
        use_compiler()
        monkeypatch.setattr(os, "geteuid", lambda: 60_800)
        for dtype in build.DTYPES:
            path = find_or_build(build.get_kernels_folder(tmp_path), dtype)
            assert path.parent.parent == tmp_path

    def test_a_folder_that_others_can_write_to_is_not_used(self, tmp_path: Path) -> None:
        folder = tmp_path / "kernels"
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(KernelsUnavailable, match="others can write"):
            find_or_build(folder, "float32")


class TestCache:
    def test_a_library_is_compiled_once_and_private(
        self, use_compiler: Use, tmp_path: Path
    ) -> None:
        use_compiler(COPY_SOURCE)
        folder = tmp_path / "kernels"
        path = find_or_build(folder, "float32")
        compiled = path.read_bytes()
        assert find_or_build(folder, "float32").read_bytes() == compiled
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sorted(folder.iterdir()) == sorted([path, path.with_suffix(".sha256")])

    def test_a_damaged_library_is_compiled_again(self, use_compiler: Use, tmp_path: Path) -> None:
        use_compiler(COPY_SOURCE)
        path = find_or_build(tmp_path / "kernels", "float32")
        path.write_bytes(b"damaged")
        assert find_or_build(tmp_path / "kernels", "float32") == path
        assert path.read_bytes() != b"damaged"

    def test_a_damaged_checksum_is_written_again(self, use_compiler: Use, tmp_path: Path) -> None:
        use_compiler(COPY_SOURCE)
        path = find_or_build(tmp_path / "kernels", "float32")
        path.with_suffix(".sha256").write_bytes(b"\xff\x00")
        assert find_or_build(tmp_path / "kernels", "float32") == path
        assert build._is_intact(path)

    @needs_compiler
    def test_a_library_without_kernels_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        empty = tmp_path / "empty.c"
        empty.write_text("int nothing;", encoding="utf-8")
        monkeypatch.setattr(build, "SOURCE", empty)
        with capture_logs() as entries:
            assert load_kernels(tmp_path / "kernels", torch.float32) is None
        assert "has no kernels" in entries[0]["reason"]

    def test_another_source_dtype_or_cpu_is_another_library(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = {
            build.name_library(dtype, level) for dtype in build.DTYPES for level in build.X86_LEVELS
        }
        other = tmp_path / "kernels.c"
        other.write_text("int changed;", encoding="utf-8")
        monkeypatch.setattr(build, "SOURCE", other)
        names.add(build.name_library("float32", build.BASELINE))
        assert len(names) == 9

    def test_the_level_needs_all_of_its_flags(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "list_levels", lambda: build.X86_LEVELS)
        for flags, expected in (
            (build.X86_LEVELS[0].cpu_flags, "x86-64-v4-bf16"),
            (build.V4_FLAGS | {"avx512_bf16"}, "x86-64-v4"),
            (build.V3_FLAGS | {"avx512f"}, "x86-64-v3"),
            (frozenset({"sse2"}), "baseline"),
            (frozenset(), "baseline"),
        ):
            monkeypatch.setattr(build, "_read_cpu_flags", lambda flags=flags: flags)
            assert build.detect_level().name == expected

    def test_a_prebuilt_library_needs_no_compiler(
        self, use_compiler: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_compiler()
        monkeypatch.setattr(build, "PREBUILT", tmp_path)
        prebuilt = tmp_path / build.name_library("float32", build.detect_level())
        prebuilt.write_bytes(b"library")
        assert find_or_build(tmp_path / "kernels", "float32") == prebuilt

    @needs_compiler
    def test_engines_that_start_at_once_get_whole_libraries(self, tmp_path: Path) -> None:
        folder = tmp_path / "kernels"
        loaded = []
        threads = [
            threading.Thread(target=lambda: loaded.append(load_kernels(folder, torch.bfloat16)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(loaded) == 2
        assert all(loaded)
