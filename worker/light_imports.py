"""Imports transformers' models without packages that they import only for other purposes.

SciPy is for the losses of object detection, boto3 for the settings of a cloud service: a tenth of
the time that a process takes to start, and 30 MB of its memory. Training processes import this
module first, engines when they need a model's class. Both packages can be imported afterwards, as
the metrics of encoders do with SciPy.
"""

import sys
import threading

# A thread of an engine may import boto3 while another one imports this.
IS_ALONE = threading.current_thread() is threading.main_thread()
UNUSED = ("boto3", "scipy") if IS_ALONE else ("scipy",)

if not sys.modules.keys() & {*UNUSED, "transformers.modeling_utils"}:
    # Importing a module that is None here fails as if it were not installed.
    sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]
    try:
        import transformers.modeling_utils
        import transformers.models.auto.modeling_auto  # noqa: F401
    finally:
        for name in UNUSED:
            del sys.modules[name]
