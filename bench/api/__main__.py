"""Benchmarks of the API against bare routes that do the same reading or writing.

    python -m bench.api validate --data FILE.jsonl
    python -m bench.api upload --data FILE.jsonl [--mebibytes 512]
    python -m bench.api parts --data FILE.jsonl [--mebibytes 8000]
    python -m bench.api jobs [--jobs 1000000]
    python -m bench.api pollers [--clients 1000]

`validate`, `upload` and `parts` repeat the rows of FILE, a training file in the chat format.
Everything runs on the loopback over an embedded Postgres and Valkey in a temporary folder. Arms are
interleaved, the first round is a warm-up, MB are 10^6 bytes. Results are JSON lines.
"""

import argparse
from pathlib import Path

from bench.api import job_reads, multipart_uploads, pollers, uploads, validation


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, run, mebibytes, description in (
        ("validate", validation.run, 128, "validate a training file in one process"),
        ("upload", uploads.run, 512, "upload one training file"),
        ("parts", multipart_uploads.run, 8000, "upload a file of gigabytes in parts"),
    ):
        command = commands.add_parser(name, help=description)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--mebibytes", type=int, default=mebibytes)
        command.add_argument("--rounds", type=int, default=3)
        command.set_defaults(run=run)
    jobs = commands.add_parser("jobs", help="retrieve and list jobs in a large table")
    jobs.add_argument("--jobs", type=int, default=1_000_000)
    jobs.add_argument("--rounds", type=int, default=3)
    jobs.add_argument("--seconds", type=float, default=3.0, help="duration of a round")
    jobs.set_defaults(run=job_reads.run)
    polling = commands.add_parser("pollers", help="poll the events of jobs from many connections")
    polling.add_argument("--clients", type=int, default=1000)
    polling.add_argument("--interval", type=float, default=10.0, help="seconds between two polls")
    polling.add_argument("--seconds", type=float, default=40.0, help="duration after warm-up")
    polling.set_defaults(run=pollers.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
