"""Throughput of rendering chats to training rows, in one thread.

    python -m bench.rendering [--train FILE] [--model ID] [--rounds 3]

Renders all rows of a chat file as a training process does. Prints a JSON line per round: `first` is
with an empty cache of tokens, `again` the second pass over the same rows, as that of a file whose
texts repeat. Rates are by processor time, so that other load on the machine hardly counts.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from app.catalog import Catalog
from app.formats import ChatExample, FormatName, chat, iter_examples
from worker.model.rendering import Renderer
from worker.model.rendering.file_examples import render_text_or_chat
from worker.model_sources import materialize
from worker.modeling import load_tokenizer

EXAMPLE = Path("examples/workshop.train.jsonl")


def measure(renderer: Renderer, examples: Sequence[ChatExample]) -> dict[str, float]:
    """Render all examples once: chats and tokens per second of processor time."""
    began, num_tokens = time.process_time(), 0
    for example in examples:
        rows = render_text_or_chat(renderer, example).rows
        num_tokens += sum(len(row.ids) for row in rows)
    seconds = time.process_time() - began
    return {
        "chats_per_second": round(len(examples) / seconds, 1),
        "tokens_per_second": round(num_tokens / seconds),
    }


def main() -> None:
    # Rayon's threads would count as processor time while they wait for each other.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser(description="Throughput of rendering training rows.")
    parser.add_argument("--train", type=Path, default=EXAMPLE)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    arguments = parser.parse_args()
    model = Catalog.load(Path("models.toml")).get(arguments.model)
    if model is None:
        raise SystemExit(f"models.toml has no model {arguments.model}.")
    examples = list(iter_examples(arguments.train, {FormatName.CHAT: chat.to_example}))
    tokenizer = load_tokenizer(materialize(model, arguments.cache))
    for number in range(1, arguments.rounds + 1):
        renderer = Renderer(tokenizer, model.context_length, has_cache=True)
        first, again = (measure(renderer, examples) for _ in range(2))
        print(json.dumps({"round": number, "first": first, "again": again}))


if __name__ == "__main__":
    main()
