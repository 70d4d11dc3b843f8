"""Base models in a bucket, fetched into the cache by processes that may read storage.

Training and conversions may not: they find the model in the cache.
"""

from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from app.catalog import CatalogModel
from app.settings import Settings
from app.storage import ObjectStore, StorageUnavailable, open_bucket
from worker.model_cache import (
    MODEL_FILE_PATTERNS,
    FetchStopped,
    ModelUnavailable,
    never,
    populate_once,
)


def fetch_from_bucket(
    model: CatalogModel, cache: Path, settings: Settings, should_stop: Callable[[], bool] = never
) -> None:
    """Fetch a model with a source `s3://BUCKET/PREFIX`, unless the cache has it.

    Other sources are left alone. The credentials are those of the storage. `should_stop` is asked
    for each block that arrives. Raises ModelUnavailable and FetchStopped.
    """
    if not model.source.startswith("s3://"):
        return
    bucket, _, prefix = model.source.removeprefix("s3://").partition("/")
    with populate_once(model, cache, should_stop) as partial:
        if partial is None:
            return
        try:
            _download(open_bucket(settings, bucket), prefix.strip("/"), partial, should_stop)
        except (StorageUnavailable, FileNotFoundError) as error:
            raise ModelUnavailable(
                f"The model {model.id} could not be fetched from {model.source}: {error}"
            ) from error


def _download(
    store: ObjectStore, prefix: str, folder: Path, should_stop: Callable[[], bool]
) -> None:
    names = list(_list_names(store, prefix))
    if "config.json" not in names:
        raise FileNotFoundError("there is no config.json under this prefix.")
    for name in names:
        # Not atomically: the folder gets its name when it is complete.
        with (folder / name).open("wb") as file:
            for chunk in store.chunks(f"{prefix}/{name}"):
                if should_stop():
                    raise FetchStopped
                file.write(chunk)


def _list_names(store: ObjectStore, prefix: str) -> Iterator[str]:
    for key in store.list(f"{prefix}/"):
        name = key.removeprefix(f"{prefix}/")
        if "/" not in name and any(fnmatch(name, pattern) for pattern in MODEL_FILE_PATTERNS):
            yield name
