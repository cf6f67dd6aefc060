"""Where Ray Train keeps a run's checkpoints, and where workers write them first."""

import hashlib
import json
import logging
import secrets
import shutil
import tempfile
from pathlib import Path

from metamath_ray.run_folder import write_whole
from metamath_ray.training._options import TrainOptions

_LOG = logging.getLogger(__name__)
_RUN_ID = "run_id.txt"
_STAGING = ".staging"
_SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's list of the checkpoints that are whole
_MOUNTS = Path("/proc/mounts")
_NETWORK_DISKS = ("afs", "beegfs", "ceph", "cifs", "fuse", "gpfs", "lustre", "nfs", "smb", "wekafs")


def run_id(output: Path) -> str:
    """The name of the run in `output`, drawn when it is first asked for; names it in a storage that runs share."""
    path = output / _RUN_ID
    if not path.is_file():
        write_whole(path, f"metamath-ray-{secrets.token_hex(6)}\n")
    return path.read_text(encoding="utf-8").strip()


def checkpoint_place(options: TrainOptions, output: Path) -> tuple[str, str]:
    """Ray Train's storage path and the name of the run in it."""
    if options.checkpoint.storage is None:
        return str(output), "checkpoints"
    return options.checkpoint.storage, run_id(output)


def remove_unlisted_checkpoints(storage: str, name: str) -> list[str]:
    """Remove what a kill left half written: checkpoints of the run that Ray Train does not list. Gives their names.

    For the driver, before Ray Train starts. Touches nothing where the list can't be read.
    """
    from pyarrow import fs

    filesystem, root = fs.FileSystem.from_uri(storage)
    folder = f"{root.rstrip('/')}/{name}"
    found = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    listed = ""
    if any(info.base_name == _SNAPSHOT for info in found):
        with filesystem.open_input_stream(f"{folder}/{_SNAPSHOT}") as file:
            listed = file.read().decode("utf-8", "replace")
        if not _is_json(listed):
            _LOG.warning("%s/%s can't be read; no checkpoint is removed", folder, _SNAPSHOT)
            return []
    is_folder = fs.FileType.Directory
    left = [
        info.base_name
        for info in found
        if info.type == is_folder
        and info.base_name.startswith("checkpoint_")
        and info.base_name not in listed
    ]
    for one in left:
        filesystem.delete_dir(f"{folder}/{one}")
    return sorted(left)


def open_staging(output: Path, rank: int) -> Path:
    """An empty folder for what this worker writes before it is kept; what an earlier one left there is removed.

    In the output folder where that is on a local disk, because a checkpoint may be larger than the system's
    temporary folder; in that one otherwise, so that nothing crosses the network twice.
    """
    folder = staging_root(output) / f"rank-{rank}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def staging_root(output: Path) -> Path:
    """The folder of all workers' staging folders on this node."""
    if is_local_disk(output):
        return output / _STAGING
    return (
        Path(tempfile.gettempdir()) / f"metamath-ray-{hashlib.sha256(str(output).encode()).hexdigest()[:12]}"
    )


def is_local_disk(path: Path, mounts: str | None = None) -> bool:
    """Whether `path` is on a disk of this machine, by the lines of /proc/mounts; a disk that isn't listed is."""
    if mounts is None:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace") if _MOUNTS.is_file() else ""
    kinds = {place: kind for _, place, kind, *_ in map(str.split, mounts.splitlines())}
    for parent in (path, *path.parents):
        if kind := kinds.get(str(parent)):
            return not kind.startswith(_NETWORK_DISKS)
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
