"""One run that adds to a ledger at a time: two would buy the same samples, each up to the limits."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

_CLAIM = ".claim"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class LedgerInUseError(ValueError):
    """Another run adds to this ledger; the text says which."""


@contextmanager
def claim_ledger(folder: Path) -> Iterator[None]:
    """Be the only run that adds to the ledger in `folder`, however this process ends; whoever likes may read it.

    Raises `LedgerInUseError` where another is. A warning and no more on a disk without locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    claim = os.open(folder / _CLAIM, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(claim, folder)
        os.truncate(claim, 0)
        os.pwrite(claim, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
        os.truncate(claim, 0)
    finally:
        os.close(claim)  # and with it the lock; the file stays, or two could lock two files of one name


def _lock(claim: int, folder: Path) -> None:
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(claim, 200, 0).decode("utf-8", "replace") or "another run"
        raise LedgerInUseError(
            f"ledger {folder.resolve()} is in use by {holder}; wait for its end, or name another --run-dir and "
            "read this one with --ledger"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("no locks on the disk of %s (%s): start no second run on it", folder, error.strerror)
