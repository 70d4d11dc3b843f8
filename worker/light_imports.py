"""Imports transformers; in training without packages that libraries need for other purposes.

SciPy is for the losses of object detection, boto3 for the settings of a cloud service, Rich for
tracebacks in terminals: a tenth of the time that a process takes to start, and 30 MB of its memory.
Training processes import this module first: libraries decide at their import what is installed. The
packages can be imported afterwards, as the metrics of encoders do with SciPy. Models are imported
by `import_models`: those of Llama's and BERT's architectures mostly need none
(`worker.model.llama_files`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

MODELS = ("transformers.modeling_utils", "transformers.models.auto.modeling_auto")
LIBRARIES = ("structlog", "transformers")
UNUSED = ("boto3", "rich", "scipy")


@contextmanager
def _left_out() -> Iterator[None]:
    """Fail imports of the unused packages as if they were not installed."""
    sys.modules.update(dict.fromkeys(_unused))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in _unused:
            del sys.modules[name]


_unused = () if sys.modules.keys() & {*UNUSED, *LIBRARIES} else UNUSED
with _left_out():
    for library in LIBRARIES:
        import_module(library)


def import_models() -> None:
    """Import what all models need, which takes seconds. Not while other threads import."""
    if sys.modules.keys() & {*_unused}:
        # Imported since by what uses them.
        return
    with _left_out():
        for module in MODELS:
            import_module(module)
