"""Logs are one JSON object per line and contain no secrets."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from app import logs
from app.logs import MAX_LOGGED_CHARS, TRUNCATION_MARK, redact
from tests.growth import assert_linear

KEY = "sk-luthier-" + "s3cret" * 7


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"key {KEY}.", "key sk-luthier-***."),
        ("Authorization: Bearer abc.def-s3cret", "Authorization: Bearer ***"),
        ('{"authorization": "bearer s3cret"}', '{"authorization": "bearer ***"}'),
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:s3c@ret@host/db", "postgresql://me:***@host/db"),
        ("http://h:80/?password=s3cret&u=me@h", "http://h:***@h"),
        ("http://h:80/?password=s3cret http://h:80/", "http://h:80/?password=*** http://h:80/"),
        ("redis://:s3cret@host/0", "redis://:***@host/0"),
        ("host=h password=s3cret user=me", "host=h password=*** user=me"),
        ("postgresql://host/db?password=s3cret&x=1", "postgresql://host/db?password=***&x=1"),
        ("https://s3/b/k?X-Amz-Signature=0a1bs3cret&x=1", "https://s3/b/k?X-Amz-Signature=***&x=1"),
        ("https://s3/b?X-Amz-Security-Token=s3%2Fcret", "https://s3/b?X-Amz-Security-Token=***"),
    ],
)
def test_secrets_are_redacted(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1/files",
        "me@host",
        "the bearer",
        "task-sk-1",
        "postgresql://host/db",
        "ftjob-abcdefghijklmnopqrstuvwx",
    ],
)
def test_other_text_is_not_redacted(text: str) -> None:
    assert redact(text) == text


class TestA45Redaction:
    @pytest.mark.parametrize(
        "piece", ["://a:", "://", "://a:b@", "bearer  ", "bearer", "password=&", "sk-", "whsec_ "]
    )
    def test_a45_work_is_linear(self, monkeypatch: pytest.MonkeyPatch, piece: str) -> None:
        monkeypatch.setattr(logs, "MAX_LOGGED_CHARS", 2**30)

        def prepare(size: int) -> Callable[[], str]:
            text = piece * (size // len(piece))
            return lambda: redact(text)

        assert_linear(prepare)

    def test_a45_a_long_text_is_cut_before_it_is_searched(self) -> None:
        assert redact("a" * 10**6) == "a" * MAX_LOGGED_CHARS + TRUNCATION_MARK
        assert redact("a" * MAX_LOGGED_CHARS) == "a" * MAX_LOGGED_CHARS

    @pytest.mark.parametrize("secret", ["://me:s3cret@h", "password=s3cret", "Bearer s3cret", KEY])
    @pytest.mark.parametrize("shown", range(1, len(KEY)))
    def test_a45_no_secret_is_shown_where_a_text_is_cut(self, secret: str, shown: int) -> None:
        redacted = redact(" " * (MAX_LOGGED_CHARS - shown) + secret + " " * 10**4)
        assert "s3c" not in redacted
        assert redacted.endswith(TRUNCATION_MARK)


PROGRAM = f"""
import logging, threading
from app import logs

KEY = {KEY!r}


class Leaky:
    def __repr__(self):
        return KEY


logs.configure("info", "api")
log = logs.get_logger("test")
log.debug("too.low")
log.info("job.acquired", job="ftjob-1", count=3, none=None)
log.info("with\\nline feed", field="\\u2028 \\x1b[31m")
log.info(KEY, nested={{"headers": ["Bearer s3cret", Leaky()]}}, leaky=Leaky())
logging.getLogger("other").warning("from elsewhere %s", KEY)
thread = threading.Thread(target=lambda: log.info("from a thread"))
thread.start()
thread.join()
logging.getLogger("uvicorn.access").info("GET /?key=s3cret")
try:
    raise ValueError(f"could not connect to postgresql://me:s3cret@host/db with {{KEY}}")
except ValueError:
    log.exception("it.failed")
"""


@pytest.fixture(scope="module")
def written() -> str:
    """The log of a process of its own, since logging is configured once per process."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert run.stdout == ""
    return run.stderr


@pytest.fixture(scope="module")
def records(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.split("\n") if line]


def test_each_record_is_a_json_line_with_its_fields(records: list[dict[str, Any]]) -> None:
    assert [record["event"] for record in records][:2] == ["job.acquired", "with\nline feed"]
    first = records[0]
    assert (first["job"], first["count"], first["none"]) == ("ftjob-1", 3, None)
    for record in records:
        assert record["process"] == "api"
        assert record["level"] in ("info", "warning", "error")
        assert record["timestamp"].endswith("Z")


def test_other_libraries_use_the_same_format(records: list[dict[str, Any]]) -> None:
    events = [record["event"] for record in records]
    assert "from elsewhere sk-luthier-***" in events
    assert not any("GET /" in event for event in events)


def test_no_secret_is_logged(written: str, records: list[dict[str, Any]]) -> None:
    assert "s3cret" not in written
    assert (
        "ValueError: could not connect to postgresql://me:***@host/db" in records[-1]["exception"]
    )
