"""Cache of base models that were downloaded or converted, and what each was made from."""

from pathlib import Path

from app.catalog import CatalogModel

# Written last into a cached model's folder; contains the source that the folder was made from.
READY_FILE = "ready"


def get_cache_folder(model: CatalogModel, cache: Path) -> Path:
    return cache / model.id.replace("/", "--")


def is_cached(model: CatalogModel, cache: Path) -> bool:
    """True if the cache has the model, made from its present source."""
    try:
        source = (get_cache_folder(model, cache) / READY_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return source == model.source


def needs_cache(model: CatalogModel) -> bool:
    """True if the model cannot be loaded from where it is: it is downloaded or converted first."""
    return model.source.startswith("hf:") or model.source.endswith(".gguf")
