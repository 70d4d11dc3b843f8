"""Entities that contain a sign without a token are evaluated as they are served: complete."""

import torch
from tokenizers.normalizers import Replace

from app.formats.token_classification import to_example
from app.recipes.chat import LoraSettings
from tests.worker.conftest import words_tokenizer
from tests.worker.training.encoders.conftest import MakeEncoder
from worker.encoding.rows.token_classification import build_rows
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.training.encoders.model import EncoderWeights
from worker.training.encoders.token_classification import TokenClassificationObjective

TASK = EncoderTask(method="token_classification", labels=("place",), max_length=32)
EXAMPLES = [
    to_example({"text": text, "entities": [{"start": 3, "end": 10, "label": "place"}]})
    for text in ("w1 w2 ~ w3 w4", "w5 w2 ~ w3 w6")
]


def test_a_word_without_a_token_belongs_to_the_surrounding_entity(
    make_encoder: MakeEncoder,
) -> None:
    encoder = make_encoder(TASK)
    # At this width dropout alone would prevent memorization.
    encoder.dropout.p = 0.0
    tokenizer = words_tokenizer(token_types=True)
    tokenizer.backend_tokenizer.normalizer = Replace("~", "")
    rows = build_rows(EXAMPLES, TASK, EncoderTokenizer(tokenizer, TASK.max_length))
    assert [len(row.text.ids) for row in rows] == [6, 6]
    objective = TokenClassificationObjective(encoder, EXAMPLES, max_tokens=4096, max_rows=None)
    trained = EncoderWeights(encoder, "tiny", LoraSettings(rank=4, alpha=8)).parameters().values()
    optimizer = torch.optim.AdamW(trained, lr=5e-3)
    for _ in range(50):
        objective.compute_loss(rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    report = objective.evaluate(rows)
    assert (report["f1"], report["wrong"]) == (1.0, [])
