"""Time between the tokens of streams, alone and while one long prompt is read beside them.

    python -m bench.long_prompts [--prompt 7900] [--streams 4] [--rounds 3] [--cache FOLDER]

The streams and the prompt are of one project and ask the base model, at the engine. Prints a JSON
line per round, then the medians.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path

from transformers import AutoConfig

from bench.serving.luthier import run_luthier
from bench.serving.peers import CompletionsPeer
from bench.serving.traffic import Cell, Question, Timing, ask, make_questions
from bench.serving.weights import prepare

MODEL = "smollm2-135m-instruct"
STREAM = Cell(adapters=0, clients=1, prompt_tokens=64, tokens=300)
# The prompt is sent when the streams have begun.
BEGIN_SECONDS = 1


async def stream_beside(
    peer: CompletionsPeer, streams: list[Question], long_prompt: Question | None
) -> tuple[list[float], Timing | None]:
    """Return the streams' times between tokens, while the prompt is read if there is one."""
    tasks = [asyncio.create_task(ask(peer, question)) for question in streams]
    await asyncio.sleep(BEGIN_SECONDS)
    timing = None if long_prompt is None else await ask(peer, long_prompt)
    timings = await asyncio.gather(*tasks)
    intervals = []
    for each in timings:
        for at, seconds in zip(each.token_at[1:], each.intervals, strict=True):
            if timing is None or timing.sent_at < at <= timing.token_at[0]:
                intervals.append(seconds)
    return intervals, timing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--prompt", type=int, default=7900, help="tokens of the long prompt")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    arguments = parser.parse_args()
    long_cell = Cell(adapters=0, clients=1, prompt_tokens=arguments.prompt, tokens=1)
    medians: dict[str, list[float]] = {"alone": [], "beside": []}
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        Path(folder).chmod(0o711)
        weights = prepare(arguments.model, arguments.cache, Path(folder), 0)
        size = int(AutoConfig.from_pretrained(weights.base).vocab_size)
        log = Path(folder, "luthier.log")
        with run_luthier(weights, log, is_int8=False, takes_drafts=False) as (engine, _):
            for number in range(arguments.rounds):
                streams = make_questions(
                    STREAM, arguments.streams, seed=2 * number, vocab_size=size
                )
                [long_prompt] = make_questions(long_cell, 1, seed=number, vocab_size=size)
                for name, prompt in (("alone", None), ("beside", long_prompt)):
                    intervals, timing = asyncio.run(stream_beside(engine, streams, prompt))
                    median = statistics.median(intervals)
                    medians[name].append(median)
                    line = {"round": number, "streams": name, "intervals": len(intervals)}
                    line |= {"median_ms": round(1000 * median, 1)}
                    if timing is not None:
                        line["prompt_s"] = round(timing.first_seconds, 2)
                    print(json.dumps(line), flush=True)
    print(json.dumps({name: round(1000 * statistics.median(m), 1) for name, m in medians.items()}))


if __name__ == "__main__":
    main()
