"""The API of this home's running service, or of another one with its own key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.local import process_specs
from app.local.api_client import ApiClient, ApiFailed, connect
from app.local.home import Home, key_path
from app.settings import Settings


@contextmanager
def connect_to_service(url: str | None, key_file: Path | None) -> Iterator[ApiClient]:
    """Connect to the service at `url`, by default this home's. Raises ApiFailed."""
    settings = Settings()
    if url is not None and key_file is None:
        raise ApiFailed("--url needs --key-file: the key of this home is for its own service only.")
    running = Home(settings.home).running_stack()
    own_url = running.url if running else process_specs.api_url(settings)
    with connect(url or own_url, key_file or key_path(settings)) as api:
        yield api
