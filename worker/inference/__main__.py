"""The engine process: `python -m worker.inference`."""

import os
import runpy

if __name__ == "__main__":
    # OpenMP reads this when torch is loaded. By default its threads busy-wait for milliseconds at
    # each barrier; with a training process on the same cores every step becomes many times slower,
    # because the threads they wait for cannot run.
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    runpy.run_module("worker.inference.main", run_name="__main__")
