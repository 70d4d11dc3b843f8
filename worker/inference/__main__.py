"""The engine process: `python -m worker.inference`."""

import os
import runpy

if __name__ == "__main__":
    # OpenMP reads this when torch is loaded. Its threads would otherwise spin for milliseconds
    # while they wait for each other; beside a training process on the same cores that makes each
    # step many times slower, because the ones that are waited for cannot run.
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    runpy.run_module("worker.inference.main", run_name="__main__")
