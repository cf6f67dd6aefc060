"""Which ledgers a build reads: its own, those of other runs, and the bundled one beside the bundled seeds."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from metamath_ray.bootstrap._options import BuildOptions
from metamath_ray.teacher import (
    LedgerReader,
    TeacherOptions,
    build_index,
    import_ledger,
    is_exported_ledger,
    segment_paths,
)

BUNDLED_LEDGER = "bundled_ledger.jsonl.xz"


def check_ledgers(options: BuildOptions) -> None:
    """Raise ValueError where `--ledger` names nothing, a folder without a segment, or a file that is no export."""
    for path in options.ledger:
        if not path.exists():
            raise ValueError(f"--ledger {path}: there is no such file or folder")
        if path.is_dir() and not segment_paths(path):
            hint = f", did you mean {path / 'ledger'}?" if segment_paths(path / "ledger") else ""
            raise ValueError(f"--ledger {path} holds no ledger segment{hint}")
        if path.is_file() and not is_exported_ledger(path):
            raise ValueError(f"--ledger {path} is no exported ledger (.jsonl.gz or .jsonl.xz)")


def open_ledgers(options: BuildOptions, own: Path) -> list[Path]:
    """The run's own ledger first, then the folders that it may read; exported files are imported into its own."""
    own.mkdir(exist_ok=True)
    _import_all(options, own)
    return [own, *_folders(options)]


@contextmanager
def read_ledgers(options: BuildOptions) -> Iterator[LedgerReader]:
    """All replies that a build with these options would find, for reading; the run directory is left alone."""
    with TemporaryDirectory(prefix="metamath_ray-") as imported:
        _import_all(options, Path(imported))
        folders = [options.run_dir / "ledger", *_folders(options), Path(imported)]
        reader = LedgerReader(build_index(path for folder in folders for path in segment_paths(folder)))
        try:
            yield reader
        finally:
            reader.close()


def _folders(options: BuildOptions) -> list[Path]:
    return [path.resolve() for path in options.ledger if path.is_dir()]


def _import_all(options: BuildOptions, target: Path) -> None:
    is_bundled = any(spec.partition(":")[0] == "bundled" for spec in options.seeds)
    if is_bundled and options.teacher.model == TeacherOptions().model:  # whose replies they are
        with as_file(files("metamath_ray.bootstrap") / BUNDLED_LEDGER) as path:
            _import(path, target)
    for path in options.ledger:
        if not path.is_dir():
            _import(path, target)


def _import(exported: Path, ledger: Path) -> None:
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()[:12]
    import_ledger(exported, ledger, name=f"imported-{digest}")
