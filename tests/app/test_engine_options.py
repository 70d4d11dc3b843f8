"""Engines of models.toml that are refused, with a sentence that names the field."""

import pytest

from app.engine_options import EngineOptionsError, parse_engine, parse_options


@pytest.mark.parametrize("port", [0, 65536, 70000, "8200", True])
def test_ports(port: object) -> None:
    with pytest.raises(EngineOptionsError, match="port must be a whole number from 1 to 65535"):
        parse_options({"port": port})
    assert parse_options({"port": 65535}).port == 65535


def test_one_url_twice() -> None:
    urls = ["http://gpu-1:8000", "http://gpu-1:8000/"]
    with pytest.raises(EngineOptionsError, match="the same URL twice"):
        parse_engine(urls)
    assert parse_engine([urls[0], "http://gpu-2:8000"]) == (urls[0], "http://gpu-2:8000")
