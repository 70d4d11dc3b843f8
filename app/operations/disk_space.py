"""Free space of the disks of the storage and of LUTHIER_HOME, where the embedded Postgres is.

Below the reserve (`LUTHIER_DISK_RESERVE_BYTES`) uploads are refused, so that checkpoints, deletions
and the database can continue. Below a quarter of it, trainers start no attempt.
"""

from dataclasses import dataclass

from app.settings import Settings
from app.storage import ObjectStore, StorageUnavailable
from app.storage.disk_usage import measure_free_bytes

TRAINER_RESERVE_DIVISOR = 4


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Free bytes of each disk by its purpose; one that cannot be used is left out."""

    free_bytes: dict[str, int]

    def find_problem(self, reserve_bytes: int) -> str | None:
        """Describe the disks on which the reserve is touched; None if there is room on all."""
        for name, free in self.free_bytes.items():
            if free == 0 and reserve_bytes:
                return (
                    f"The disk of the {name} is full, or can take no more files (`df -i`): uploads "
                    "are refused. Delete files or models, or enlarge the disk."
                )
            if free < reserve_bytes:
                return (
                    f"The disk of the {name} has {free // 2**20} MiB left, less than the reserve "
                    f"of {reserve_bytes // 2**20} MiB (LUTHIER_DISK_RESERVE_BYTES): uploads are "
                    "refused. Delete files or models, or enlarge the disk."
                )
        return None


def measure(settings: Settings, store: ObjectStore) -> DiskSpace:
    """Measure the free space of the disks on this machine."""
    free_bytes = {}
    try:
        storage = store.free_bytes()
    except StorageUnavailable:
        storage = None
    if storage is not None:
        free_bytes["storage"] = storage
    if settings.home.exists():
        free_bytes["home"] = measure_free_bytes(settings.home)
    return DiskSpace(free_bytes)


def can_train(settings: Settings, store: ObjectStore) -> bool:
    """Return false while too little space is left to start an attempt."""
    reserve = settings.disk_reserve_bytes // TRAINER_RESERVE_DIVISOR
    return measure(settings, store).find_problem(reserve) is None
