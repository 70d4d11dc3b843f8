"""Errors of backup and restore; each message is a sentence for the operator."""


class BackupError(Exception):
    """The backup or restore cannot be done; the message says what to do."""


class CorruptBackup(BackupError):
    """A file of the backup is missing or was changed."""


class TargetInUse(BackupError):
    """The database to restore into has rows, or processes of Luthier are using it."""
