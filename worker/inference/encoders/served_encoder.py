"""A resolved encoder: the engine of its base model, and the model fine-tuned from it."""

from dataclasses import dataclass
from pathlib import Path

from app import logs
from app.catalog import CatalogModel
from worker.encoding.backbone import load_backbone
from worker.encoding.pooling import read_pooling
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.inference.fair_executor import FairExecutor
from worker.model_sources import find_folder, materialize
from worker.modeling import choose_device, choose_dtype, load_tokenizer

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """A resolved model name; `tuned` is None for a base model.

    `project` is the one whose share of the engine a request takes.
    """

    name: str
    engine: EncoderEngine
    tuned: TunedEncoder | None
    project: str = ""


@dataclass(frozen=True, slots=True)
class TextTokenization:
    """A base model's tokenizer of texts, and the thread in which projects take turns to use it."""

    tokenizer: EncoderTokenizer
    executor: FairExecutor


def load_tokenization(model: CatalogModel, cache: Path) -> TextTokenization:
    """Load the tokenizer of a model that is on this machine. Raises ModelUnavailable."""
    tokenizer = EncoderTokenizer(load_tokenizer(find_folder(model, cache)), model.context_length)
    return TextTokenization(tokenizer, FairExecutor(1, "tokenizer"))


def load_encoder(model: CatalogModel, cache: Path) -> EncoderEngine:
    """Load a base encoder. Raises ModelUnavailable."""
    folder = materialize(model, cache)
    device = choose_device()
    length = model.context_length
    backbone = load_backbone(folder, dtype=choose_dtype(device), device=device, max_length=length)
    tokenizer = EncoderTokenizer(load_tokenizer(folder), length)
    log.info("model.loaded", model=model.id, device=str(device))
    return EncoderEngine(backbone, tokenizer, pooling=read_pooling(folder, model.kind))
