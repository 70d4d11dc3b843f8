"""Engine, trainers and tasks.

None has a terminal: progress bars would only fill the logs. tqdm reads this when it is imported.
"""

import os

os.environ.setdefault("TQDM_DISABLE", "1")
