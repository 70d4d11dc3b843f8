"""Time to the first token of a prompt whose beginning is known, beside that of the first one.

    python -m bench.prefix [--model ID] [--prefix 1000] [--rest 20] [--rounds 5]

The engine without HTTP, in one thread. Times are processor time, so that other load on the machine
hardly counts. Prints one JSON line per round, and the median ratio.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import torch

from app.catalog import Catalog
from worker.inference.engine import Engine
from worker.inference.loaded_model import load_model
from worker.inference.messages import Event, PrefixReused, Request, SamplingParams, Token


def measure(engine: Engine, prompt: list[int]) -> tuple[float, int]:
    """Return the seconds to the first token, and how many of the prompt's tokens were known."""
    events: list[Event] = []
    request = Request(
        prompt=prompt,
        num_choices=1,
        max_new_tokens=1,
        stop_ids=frozenset(),
        sampling=SamplingParams(temperature=0),
        adapter=None,
        emit=events.append,
    )
    began = time.process_time()
    engine.submit(request)
    while not any(isinstance(event, Token) for event in events):
        engine.step()
    seconds = time.process_time() - began
    return seconds, sum(event.num_tokens for event in events if isinstance(event, PrefixReused))


def main() -> None:
    parser = argparse.ArgumentParser(description="Gain of the prefix cache.")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prefix", type=int, default=1000, help="tokens that two prompts share")
    parser.add_argument("--rest", type=int, default=20, help="tokens after them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = Catalog.load(Path("models.toml")).get(arguments.model)
    if model is None:
        raise SystemExit(f"models.toml has no model {arguments.model}.")
    loaded = load_model(model, arguments.cache)
    tokens = random.Random(0)

    def draw(count: int) -> list[int]:
        return [tokens.randrange(100, loaded.vocabulary.size) for _ in range(count)]

    measure(loaded.engine, draw(arguments.rest))
    ratios = []
    for _ in range(arguments.rounds):
        prefix = draw(arguments.prefix)
        first, _ = measure(loaded.engine, prefix + draw(arguments.rest))
        second, known = measure(loaded.engine, prefix + draw(arguments.rest))
        ratios.append(second / first)
        result = {"first_s": first, "second_s": second, "cached_tokens": known}
        print(json.dumps({name: round(value, 3) for name, value in result.items()}))
    print(json.dumps({"ratio": round(statistics.median(ratios), 3)}))


if __name__ == "__main__":
    main()
