"""`python -m worker.training.materialize MODEL CACHE`: put a base model, as JSON, into the cache.

The supervisor runs it before training where the cache lacks the model. It handles nothing of a
user's, and so may write to the cache and have the key of a model hub, which training may not.
"""

import json
import sys
from pathlib import Path

from app.catalog import CatalogModel
from app.logs import configure
from worker.model_cache import ModelUnavailable
from worker.model_sources import materialize
from worker.run_folder import ExitCode


def main(model: str, cache: str) -> int:
    configure("info", "materialize")
    try:
        materialize(CatalogModel.from_json(json.loads(model)), Path(cache))
    except ModelUnavailable as error:
        sys.stdout.write(str(error))
        return ExitCode.USER_ERROR
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
