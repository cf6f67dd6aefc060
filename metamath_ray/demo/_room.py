"""Whether a demo has room, asked before it starts: a full disk would end it only when half of it is done."""

import shutil

from metamath_ray.demo._options import DemoOptions

NEEDED_BYTES = 5 * 10**9
"""Of our own student: itself, two checkpoints in fp32 with Adam's moments, the model that comes out, and some."""


def check_room(options: DemoOptions) -> None:
    """Raise `ValueError` where the run directory's disk has no room; what the demo left there counts as free.

    For a student of the user's own the training's check alone knows.
    """
    if options.model is not None:
        return
    folder = options.run_dir.absolute()
    own = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free + own < NEEDED_BYTES:
        raise ValueError(
            f"the demo needs {NEEDED_BYTES / 1e9:.0f} GB in {options.run_dir}, {free / 1e9:.1f} GB are free; "
            "make room, or name a folder on another disk with --run-dir (make demo ARGS='--run-dir FOLDER')"
        )
