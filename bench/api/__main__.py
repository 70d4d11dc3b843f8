"""The API against bare routes that do the same reading or writing: each arm one JSON line.

    python -m bench.api judge --data FILE.jsonl
    python -m bench.api upload --data FILE.jsonl [--mebibytes 512]
    python -m bench.api parts --data FILE.jsonl [--mebibytes 8000]
    python -m bench.api jobs [--jobs 1000000]
    python -m bench.api pollers [--clients 1000]

`judge`, `upload` and `parts` repeat FILE's chat-shaped rows. Everything runs in a folder of its own
with embedded Postgres and Valkey, on the loopback, and ends by itself. Arms are interleaved, the
first round is not counted, MB are 10^6 bytes.
"""

import argparse
from pathlib import Path

from bench.api import judging, parts, pollers, reading, uploads


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, run, mebibytes in (
        ("judge", judging.run, 128),
        ("upload", uploads.run, 512),
        ("parts", parts.run, 8000),
    ):
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--mebibytes", type=int, default=mebibytes)
        command.add_argument("--rounds", type=int, default=3)
        command.set_defaults(run=run)
    jobs = commands.add_parser("jobs")
    jobs.add_argument("--jobs", type=int, default=1_000_000)
    jobs.add_argument("--rounds", type=int, default=3)
    jobs.add_argument("--seconds", type=float, default=3.0)
    jobs.set_defaults(run=reading.run)
    polling = commands.add_parser("pollers")
    polling.add_argument("--clients", type=int, default=1000)
    polling.add_argument("--every", type=float, default=10.0)
    polling.add_argument("--seconds", type=float, default=40.0)
    polling.set_defaults(run=pollers.run)
    asked = parser.parse_args()
    asked.run(asked)


if __name__ == "__main__":
    main()
