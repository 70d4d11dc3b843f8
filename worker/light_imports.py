"""Imports transformers' models without packages that they import only for other purposes.

SciPy is for the losses of object detection, boto3 for the settings of a cloud service: a tenth of
the time that a process takes to start, and 30 MB of its memory. Entry points import this module
first. Both packages can be imported afterwards, as the metrics of encoders do with SciPy.
"""

import sys

UNUSED = ("boto3", "scipy")

if not sys.modules.keys() & {*UNUSED, "transformers"}:
    # Importing a module that is None here fails as if it were not installed.
    sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]
    try:
        import transformers.modeling_utils  # noqa: F401
    finally:
        for name in UNUSED:
            del sys.modules[name]
