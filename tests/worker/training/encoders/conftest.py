"""A tiny encoder of random weights, made for a given task."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertConfig

from app.recipes.chat import LoraSettings
from tests.worker.conftest import PAD, words_tokenizer
from worker.encoding.backbone import load_backbone
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.training.encoders.methods import num_outputs
from worker.training.encoders.model import Encoder, add_lora

MakeEncoder = Callable[[EncoderTask], Encoder]


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=PAD,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    words_tokenizer(token_types=True).save_pretrained(folder)
    return folder


@pytest.fixture
def make_encoder(tiny_encoder_folder: Path) -> MakeEncoder:
    """Makes an encoder with an adapter and a head; the same weights each time."""

    def make(task: EncoderTask) -> Encoder:
        torch.manual_seed(1)
        cpu = torch.device("cpu")
        backbone = load_backbone(
            tiny_encoder_folder, dtype=torch.float32, device=cpu, max_length=64
        )
        tokenizer = EncoderTokenizer(words_tokenizer(token_types=True), task.max_length)
        encoder = Encoder(backbone, task, tokenizer, num_outputs=num_outputs(task))
        add_lora(encoder, LoraSettings(rank=4, alpha=8))
        return encoder

    return make
