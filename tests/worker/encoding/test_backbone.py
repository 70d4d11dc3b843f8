"""Backbones of each architecture compute what transformers computes, and can be tuned."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PretrainedConfig,
    RobertaConfig,
)

from app.recipes.chat import LoraSettings
from tests.worker.conftest import PAD, words_tokenizer
from tests.worker.conftest import make_texts as texts
from worker.encoding.backbone import compute_hidden_states, load_backbone, read_shape
from worker.encoding.pooling import pool
from worker.encoding.rows.row import TextRow
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.training.encoders.classification import ClassificationObjective
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning

CPU = torch.device("cpu")
SHAPE = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": PAD}
NARROW = {"hidden_size": 32, "intermediate_size": 48}
CONFIGS = {
    "bert": BertConfig(**SHAPE, **NARROW),
    # Positions start after the padding index.
    "roberta": RobertaConfig(**SHAPE, **NARROW, max_position_embeddings=66),
    # Other layer names, and no token types.
    "distilbert": DistilBertConfig(
        vocab_size=64, n_layers=2, n_heads=4, dim=32, hidden_dim=48, pad_token_id=PAD
    ),
    # Rotary positions, gated MLPs, and local attention in every other layer.
    "modernbert": ModernBertConfig(
        **SHAPE,
        **NARROW,
        local_attention=8,
        global_attn_every_n_layers=2,
        bos_token_id=0,
        eos_token_id=2,
        cls_token_id=0,
        sep_token_id=2,
    ),
}
TARGETS = {
    "bert": {"query", "key", "value", "dense"},
    "roberta": {"query", "key", "value", "dense"},
    "distilbert": {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"},
    "modernbert": {"Wqkv", "Wo", "Wi"},
}


@pytest.fixture(params=list(CONFIGS))
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(tmp_path: Path, architecture: str) -> Path:
    """A model of that architecture, of random weights."""
    config: PretrainedConfig = CONFIGS[architecture]
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    words_tokenizer(token_types=architecture == "bert").save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def tokenizer(architecture: str) -> EncoderTokenizer:
    return EncoderTokenizer(words_tokenizer(token_types=architecture == "bert"), 64)


@pytest.mark.parametrize("longest", [64, 512], ids=["products", "fused"])
def test_hidden_states_equal_transformers_alone_and_padded(
    folder: Path, tokenizer: EncoderTokenizer, longest: int
) -> None:
    """Both attention implementations, compared with transformers on longer padding."""
    sample_texts = texts(3, 20, 11)
    backbone = load_backbone(folder, dtype=torch.float32, device=CPU, max_length=longest)
    reference = AutoModel.from_pretrained(folder).eval()
    padded = tokenizer.hf_tokenizer(
        sample_texts, padding="max_length", max_length=48, return_tensors="pt"
    )
    with torch.no_grad():
        batch = tokenizer.pad(tokenizer.tokenize(sample_texts), CPU)
        ours = compute_hidden_states(backbone, batch)
        theirs = reference(**padded).last_hidden_state
        for row, text in enumerate(tokenizer.tokenize(sample_texts)):
            length = len(text.ids)
            alone = compute_hidden_states(backbone, tokenizer.pad([text], CPU))[0]
            assert_close(ours[row, :length], theirs[row, :length], atol=1e-5, rtol=1e-4)
            assert_close(alone, theirs[row, :length], atol=1e-5, rtol=1e-4)
        mean = theirs[1, :22].mean(0)
        assert_close(pool(ours, batch.mask, "mean")[1], mean, atol=1e-5, rtol=1e-4)


def classifier(folder: Path, tokenizer: EncoderTokenizer, *, full: bool) -> Encoder:
    task = EncoderTask(
        method="classification", labels=("a", "b"), tuning="full" if full else "lora"
    )
    torch.manual_seed(1)
    backbone = load_backbone(folder, dtype=torch.float32, device=CPU, max_length=64)
    encoder = Encoder(backbone, task, tokenizer, num_outputs=2)
    if full:
        enable_full_tuning(encoder, torch.float32)
    else:
        add_lora(encoder, LoraSettings(rank=4, alpha=8))
    return encoder


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_training_reaches_every_layer_and_survives_saving(
    folder: Path, tokenizer: EncoderTokenizer, architecture: str, tmp_path: Path, full: bool
) -> None:
    encoder = classifier(folder, tokenizer, full=full)
    objective = ClassificationObjective(encoder, max_tokens=512, max_rows=None)
    rows = [
        TextRow(text, torch.tensor([place % 2]).numpy(), place)
        for place, text in enumerate(tokenizer.tokenize(texts(4, 9, 5, 12)))
    ]
    weights = EncoderWeights(encoder, "tiny", LoraSettings(rank=4, alpha=8))
    optimizer = torch.optim.AdamW(weights.parameters().values(), lr=1e-2)
    losses = []
    for _ in range(4):
        score = objective.compute_loss(rows)
        score.loss.backward()
        losses.append(score.loss.item())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    without_gradient = {
        name for name, p in weights.parameters().items() if not optimizer.state[p]["exp_avg"].any()
    }
    assert without_gradient == set(), "no gradient reached these"
    adapter_folder = tmp_path / "adapter"
    adapter_folder.mkdir()
    weights.save(adapter_folder)
    reloaded = classifier(folder, tokenizer, full=full)
    EncoderWeights(reloaded, "tiny", LoraSettings(rank=4, alpha=8)).load(adapter_folder)
    assert objective.evaluate(rows) == ClassificationObjective(
        reloaded, max_tokens=512, max_rows=None
    ).evaluate(rows)


def test_lora_is_added_to_the_architectures_linear_layers(
    folder: Path, tokenizer: EncoderTokenizer, architecture: str
) -> None:
    encoder = classifier(folder, tokenizer, full=False)
    names = EncoderWeights(encoder, "tiny", LoraSettings(rank=4, alpha=8)).parameters()
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names if ".lora_" in name}
    assert layers == TARGETS[architecture]
    assert read_shape(folder)[0] == 32


def test_texts_are_limited_to_the_models_positions() -> None:
    assert EncoderTokenizer(words_tokenizer(token_types=False), 512).max_length == 64
