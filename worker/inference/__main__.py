"""The engine process: `python -m worker.inference`."""

import logging
import os

from app.importing import without_garbage_collection

if __name__ == "__main__":
    # OpenMP reads this when torch is loaded. By default its threads busy-wait for milliseconds at
    # each barrier; with a training process on the same cores every step becomes many times slower,
    # because the threads they wait for cannot run.
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    with without_garbage_collection():
        from worker.inference.main import main
    code = main()
    logging.shutdown()
    # Not sys.exit, which would wait for a model that is still being loaded.
    os._exit(code)
