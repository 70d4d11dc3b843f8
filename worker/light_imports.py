"""Imports transformers' models; in training without packages that they need for other purposes.

SciPy is for the losses of object detection, boto3 for the settings of a cloud service: a tenth of
the time that a process takes to start, and 30 MB of its memory. Training processes import this
module first. Both packages can be imported afterwards, as the metrics of encoders do with SciPy.
An engine imports it when it needs a model's class; by then transformers knows what is installed.
"""

import sys
from importlib import import_module

MODULES = ("transformers.modeling_utils", "transformers.models.auto.modeling_auto")
UNUSED = ("boto3", "scipy")

left_out = () if sys.modules.keys() & {*UNUSED, "transformers"} else UNUSED
# Importing a module that is None here fails as if it were not installed.
sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]
try:
    for module in MODULES:
        import_module(module)
finally:
    for name in left_out:
        del sys.modules[name]
