"""Entities learned from a file are found where the file has them, by the engine that serves."""

import asyncio
import json
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

from app.catalog import CatalogModel, ModelKind
from app.formats.token_classification import to_example
from app.wire.encoders import InferenceRequest
from worker.encoding.segmentation import Segmentation, Units, find_units
from worker.encoding.task import read_task
from worker.inference.encoders import tasks
from worker.inference.encoders.routes import infer
from worker.inference.encoders.served_encoder import ServedEncoder, load_encoder
from worker.run_folder import ExitCode, Failed, RunFolder, RunSpec
from worker.training.attempt import run_attempt

pytestmark = pytest.mark.usefixtures("training_settings")

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
UNSPACED = "東京石川陳光王平見行のからไปกรุงเทพ"
Row = dict[str, Any]


def tagged(text: str) -> Row:
    """Make a row of tokens from "token/TAG token/TAG"."""
    tokens, tags = zip(*(part.rsplit("|", 1) for part in text.split()), strict=True)
    return {"tokens": list(tokens), "tags": list(tags)}


def spans(text: str, *entities: tuple[int, int, str]) -> Row:
    named = [{"start": start, "end": end, "label": label} for start, end, label in entities]
    return {"text": text, "entities": named}


FILES: dict[str, tuple[Segmentation, list[Row]]] = {
    "tokens with signs": (
        Segmentation.WORDS,
        [
            tagged("on|O 12/03|B-date o'connor|B-per left|O u.s.|B-loc .|O"),
            tagged("mail|O k.l@uni.edu|B-mail well-known|O .|O"),
        ],
    ),
    "a character a token": (
        Segmentation.PIECES,
        [
            tagged("見|O 陳|B-per 光|I-per 行|O 東|B-loc 京|I-loc"),
            tagged("王|B-per 平|I-per 石|B-loc 川|I-loc 見|O"),
        ],
    ),
    "a word a token": (
        Segmentation.CHARACTERS,
        [
            tagged("ไป|O กรุงเทพ|B-loc"),
            tagged("ไป|O กรุงเทพ|B-loc ไป|O"),
            tagged("東京|B-loc から|O 石川|B-loc"),
        ],
    ),
    "parts of words": (
        Segmentation.PIECES,
        [
            spans("a 5kg bag", (2, 3, "n"), (3, 5, "unit")),
            spans("7mm", (0, 1, "n"), (1, 3, "unit")),
        ],
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CatalogModel:
    """A tiny BERT whose WordPiece vocabulary has single characters, and two pieces of Thai."""
    folder = tmp_path_factory.mktemp("characters")
    characters = ascii_lowercase + digits + ".-@'/" + UNSPACED
    pieces = [*SPECIAL, *dict.fromkeys(characters), *(f"##{c}" for c in dict.fromkeys(characters))]
    tokenizer = Tokenizer(
        WordPiece({piece: n for n, piece in enumerate([*pieces, "##ปก"])}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split("ไปกรุงเทพ", "isolated")]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces) + 1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    return CatalogModel(
        id="characters",
        source=f"path:{folder}",
        kind=ModelKind.ENCODER,
        methods=("token_classification",),
        context_length=64,
    )


@pytest.mark.parametrize("name", FILES)
def test_the_engine_finds_the_entities_of_the_file(
    name: str, model: CatalogModel, tmp_path: Path
) -> None:
    segmentation, rows = FILES[name]
    folder = train(tmp_path, model, rows)
    report = json.loads((folder / "evaluation.json").read_bytes())
    assert (report["f1"], report["wrong"]) == (1.0, [])
    engine = {"metric": "f1", "asked": 10 * len(rows), "served": 1.0, "trained": 1.0}
    assert report["engine"] == engine
    assert read_task(folder).segmentation == segmentation
    for example in map(to_example, rows):
        found = ask(model, tmp_path, folder, example.text)
        assert found == [(e.start, e.end, e.label) for e in example.entities], example.text


def test_a_model_that_is_served_differently_fails_its_job(
    model: CatalogModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine cuts texts into words of its own, as it once did."""
    _, rows = FILES["parts of words"]

    def find_own_words(text: str, offsets: Any, segmentation: Segmentation) -> Units:
        return find_units(text, offsets, Segmentation.WORDS)

    monkeypatch.setattr(tasks, "find_units", find_own_words)
    folder = make_run(tmp_path, model, rows)
    assert run_attempt(folder) == ExitCode.USER_ERROR
    *_, (failed, _) = folder.read_events()
    assert isinstance(failed, Failed)
    assert failed.code == "served_differently"
    assert "f1 is 0.000 by the engine and 1.000 in training" in failed.message
    assert not list(folder.checkpoints.glob("*/evaluation.json"))


def train(path: Path, model: CatalogModel, rows: list[Row]) -> Path:
    """Train until the rows are known by heart; return the last checkpoint."""
    folder = make_run(path, model, rows)
    assert run_attempt(folder) == ExitCode.DONE
    return folder.checkpoint(folder.list_checkpoint_steps()[0])


def make_run(path: Path, model: CatalogModel, rows: list[Row]) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.checkpoints.mkdir(parents=True)
    for file, examples in ((folder.train_file, rows * 40), (folder.valid_file, rows * 10)):
        file.write_text("\n".join(map(json.dumps, examples)), encoding="utf-8")
    folder.write_spec(
        RunSpec(
            job_id="run",
            attempt=1,
            model=model.to_json(),
            model_cache=str(path / "cache"),
            method="token_classification",
            hyperparameters={"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": 30.0},
            seed=3,
            base_model=model.id,
            threads=1,
        )
    )
    return folder


def ask(model: CatalogModel, path: Path, folder: Path, text: str) -> list[tuple[int, int, str]]:
    engine = load_encoder(model, path / "cache")
    served = ServedEncoder("tuned", engine, engine.load_tuned(folder))
    response = asyncio.run(infer(InferenceRequest(inputs=text), served))
    return [(e["start"], e["end"], e["entity_group"]) for e in json.loads(response.body)]
