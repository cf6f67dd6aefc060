"""One process a rank: what an earlier start of the run left running is waited for, never trained beside.

A worker whose driver was killed lives on for some seconds, and would append steps and write checkpoints.
"""

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metamath_ray.training._errors import TrainingFailedError

_LOG = logging.getLogger(__name__)

PATIENCE_S = 120.0
"""How long an earlier worker is waited for: Ray ends one within seconds, an NFS server takes 90 s to forget the locks
of a node that died."""
_POLL_S = 0.2
_SILENCE_S = 5.0
_FOLDER = ".workers"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def claim_rank(output: Path, rank: int, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Be the only process that is worker `rank` of the run in `output`, however this process ends.

    The claim is an flock on a file there. It holds between nodes where the disk's locks do: on NFS they do, unless it
    is mounted with `nolock` or `local_lock`, and on Lustre with `flock`; where there are none, this is a warning and
    no more. Raises `TrainingFailedError` where another process keeps the claim for `patience_s` seconds.
    """
    folder = output / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    claim = os.open(folder / f"rank-{rank}", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(claim, rank, patience_s)
        os.truncate(claim, 0)
        os.pwrite(claim, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(claim)  # and with it the lock; the file stays, or two could lock two files of one name


def wait_for_workers(output: Path, *, patience_s: float = PATIENCE_S) -> None:
    """Return when no worker of the run in `output` is left. Raises as `claim_rank`."""
    deadline = time.monotonic() + patience_s
    for path in sorted((output / _FOLDER).glob("rank-*")):
        rank = int(path.name.removeprefix("rank-"))
        with claim_rank(output, rank, patience_s=deadline - time.monotonic()):
            pass


def _lock(claim: int, rank: int, patience_s: float) -> None:
    started = time.monotonic()
    is_silent = True
    while not _try_lock(claim):
        holder = os.pread(claim, 200, 0).decode("utf-8", "replace") or "a process"
        waited_s = time.monotonic() - started
        if waited_s >= patience_s:
            raise TrainingFailedError(
                f"worker {rank} of an earlier start of this run still runs: end {holder}"
            )
        if is_silent and waited_s >= _SILENCE_S:
            _LOG.warning("waiting for worker %d of this run, %s, to end", rank, holder)
            is_silent = False
        time.sleep(_POLL_S)


def _try_lock(claim: int) -> bool:
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _LOG.warning(
            "this disk has no locks (%s): start no run before the one before it is gone", error.strerror
        )
    return True
