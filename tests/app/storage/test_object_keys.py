"""Storage keys: none escapes the root, none is ambiguous, each kind of object has its own."""

import pytest

from app.storage import UnsafeKey, checkpoint_prefix, file_key, job_prefix, join_key
from app.storage.object_keys import validate_key, validate_prefix

UNSAFE = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../a",
    "a/../b",
    "a/..",
    ".",
    "./a",
    "a//b",
    "a/",
    "a\0b",
    "a\\b",
    "a\n",
    "a b",
    "%2e%2e/a",
    "\u2024\u2024/a",
    "\u202ea",
    "a/.hidden",
    ".unfinished/a",
    "~/a",
    "-a",
    "x" * 201,
    "a/" * 600 + "b",
]


@pytest.mark.parametrize("key", UNSAFE)
def test_rejects_an_unsafe_key(key: str) -> None:
    with pytest.raises(UnsafeKey):
        validate_key(key)


@pytest.mark.parametrize("key", UNSAFE)
def test_rejects_an_unsafe_key_as_part_of_another(key: str) -> None:
    with pytest.raises(UnsafeKey):
        file_key("proj_1", key)
    with pytest.raises(UnsafeKey):
        join_key("projects/proj_1", key)


@pytest.mark.parametrize("prefix", ["/", "/a", "..", "../", "a/../b", "a//", "a//b", "a\0", ".u"])
def test_rejects_an_unsafe_prefix(prefix: str) -> None:
    with pytest.raises(UnsafeKey):
        validate_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/"])
def test_accepts_a_prefix_that_ends_anywhere(prefix: str) -> None:
    assert validate_prefix(prefix) == prefix


def test_builds_the_key_of_each_kind_of_object() -> None:
    assert file_key("proj_1", "file-1") == "projects/proj_1/files/file-1"
    assert job_prefix("proj_1", "ftjob-1") == "projects/proj_1/jobs/ftjob-1"
    prefix = checkpoint_prefix("proj_1", "ftjob-1", 2, 30)
    assert prefix == "projects/proj_1/jobs/ftjob-1/attempt-2/step-30"
    assert join_key(prefix, "adapter_config.json") == f"{prefix}/adapter_config.json"


def test_rejects_an_id_that_reaches_into_another_project() -> None:
    for project_id, file_id in (("proj_1/files", "x"), ("proj_1", "a/b"), ("", "x")):
        with pytest.raises(UnsafeKey):
            file_key(project_id, file_id)
    with pytest.raises(UnsafeKey):
        job_prefix("proj_1", "../proj_2")
