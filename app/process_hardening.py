"""Process hardening on Linux: what a process with secrets, and one without, may do to others.

Imports almost nothing, since a new process calls it before it loads anything else.
"""

import ctypes
import os
import sys

# From prctl(2).
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
# From capability.h: the version of the header of capset(2), and an end of all capabilities.
CAPABILITY_VERSION = 0x20080522
MAX_CAPABILITIES = 64

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def forbid_inspection() -> None:
    """Let no process of the same user read this one's memory, environment or core dumps.

    A process that trains or serves users' data runs as the same user in an ordinary installation.
    The effect ends with an exec, so each process with secrets calls this itself.
    """
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_inspection() -> None:
    """Undo `forbid_inspection` and what a change of the user does, as an exec would.

    For a forked process without secrets: its own /proc files are root's otherwise.
    """
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def drop_privileges(uid: int | None, groups: list[int]) -> None:
    """Become another user, if one is given, without capabilities or a way to gain any.

    Raises OSError.
    """
    if _LIBC is not None:
        _limit_capabilities(_LIBC)
    if uid is not None:
        os.setgroups(groups)
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if _LIBC is not None:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)()))
        _check(_LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _limit_capabilities(libc: ctypes.CDLL) -> None:
    """Empty the bounding set, from which an exec by root would fill the others again."""
    for capability in range(MAX_CAPABILITIES):
        # Fails without CAP_SETPCAP, which a process without capabilities does not need.
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
