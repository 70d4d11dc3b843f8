"""`python -m worker.exporting RUN_FOLDER`: one conversion, in one folder.

Exit codes are those of `ExitCode`. A model that the format cannot express leaves a Failed record.
"""

import os
import sys
from pathlib import Path

# Read by torch on import. A conversion leaves the accelerator to training and serving.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

from app.logs import configure
from worker.export_spec import get_output_folder, read_spec
from worker.exporting.conversion import convert
from worker.exporting.errors import UnsupportedExport
from worker.model_cache import ModelUnavailable
from worker.run_folder import ExitCode, Failed, RunFolder

# Requests and training go first. Inherited by the threads that torch starts.
NICENESS = 15


def main(path: Path) -> int:
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    configure("info", "export")
    folder = RunFolder(path)
    try:
        convert(read_spec(folder), folder.init_adapter, get_output_folder(folder))
    except (UnsupportedExport, ModelUnavailable) as error:
        folder.append_event(Failed(code="unsupported_export", message=str(error), param="format"))
        return ExitCode.USER_ERROR
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
