"""Shares of the engine: one per project for its live requests, and one for those of its batches.

A share is named by a string, as a project was: whatever is shared by projects is shared by these.
"""

from app.wire.engine_metadata import Priority

# No id of a project has a line break, and no header.
BATCH_SUFFIX = "\nbatch"


def name_share(project: str, priority: str) -> str:
    """Name the share that a project's request takes."""
    return project + BATCH_SUFFIX if priority == Priority.BATCH else project


def is_of_batches(share: str) -> bool:
    return share.endswith(BATCH_SUFFIX)


def find_project(share: str) -> str:
    """Find the project of a share."""
    return share.removesuffix(BATCH_SUFFIX)
