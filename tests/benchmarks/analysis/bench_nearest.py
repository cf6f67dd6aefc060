"""Time and memory of the nearest of 80,000 base vectors for 20,000 new ones, against the bare matrix product.

Run on a quiet machine: `python tests/benchmarks/analysis/bench_nearest.py [--new 20000] [--base 80000]
[--dimension 384] [--rounds 3] [--only NAME …]`. Each way runs in a process of its own; a line each: the best of the
rounds, and the peak memory beyond the vectors themselves.

    bare numpy    the product of all pairs by numpy, in the blocks that the search uses, and nothing done with it
    bare torch    the same by torch
    ours          find_nearest in this process
    torch max     the search's blocks by torch: product, then max
    ours on ray   find_nearest on a local Ray, one worker a CPU (its start is not counted)
    faiss flat    faiss.IndexFlatL2, where faiss is installed
    faiss hnsw    the index that takes over past --diversity.exact-up-to, built and searched, with its recall
"""

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from metamath_ray.analysis import _nearest
from metamath_ray.analysis._nearest import find_nearest

NAMES = ("bare numpy", "bare torch", "ours", "torch max", "ours on ray", "faiss flat", "faiss hnsw")


def make_vectors(num: int, dimension: int, seed: int) -> np.ndarray:
    """Unit vectors around 2,000 centres, which both sets share: as rows of seeds lie."""
    centres = np.random.default_rng(7).standard_normal((2000, dimension), np.float32)
    draw = np.random.default_rng(seed)
    rows = centres[draw.integers(0, len(centres), num)]
    rows += 0.6 * draw.standard_normal((num, dimension), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def bare_numpy(new: np.ndarray, base: np.ndarray) -> None:
    """Every block's product, thrown away."""
    out = np.empty((_nearest._NEW_ROWS, _nearest._BASE_ROWS), np.float32)
    for start in range(0, len(new), _nearest._NEW_ROWS):
        block = new[start : start + _nearest._NEW_ROWS]
        for at in range(0, len(base), _nearest._BASE_ROWS):
            part = base[at : at + _nearest._BASE_ROWS]
            np.matmul(block, part.T, out=out[: len(block), : len(part)])


def bare_torch(new: np.ndarray, base: np.ndarray) -> None:
    """The same by torch."""
    import torch

    new_t, base_t = torch.from_numpy(new), torch.from_numpy(base)
    for block in new_t.split(_nearest._NEW_ROWS):
        for part in base_t.split(_nearest._BASE_ROWS):
            torch.mm(block, part.T)


def torch_max(new: np.ndarray, base: np.ndarray) -> None:
    """Product and max of each block by torch."""
    import torch

    new_t, base_t = torch.from_numpy(new), torch.from_numpy(base)
    for block in new_t.split(_nearest._NEW_ROWS):
        best = torch.full((len(block),), -torch.inf)
        for part in base_t.split(_nearest._BASE_ROWS):
            values, _ = torch.mm(block, part.T).max(dim=1)
            best = torch.maximum(best, values)


def faiss_flat(new: np.ndarray, base: np.ndarray) -> None:
    """Exhaustive search by faiss."""
    import faiss

    index = faiss.IndexFlatL2(base.shape[1])
    index.add(base)
    index.search(new, 1)


def faiss_hnsw(new: np.ndarray, base: np.ndarray) -> str:
    """Build, search and recall of the index."""
    from metamath_ray.analysis._nearest_index import find_nearest_by_index

    _, recall = find_nearest_by_index(new, base, recall_sample=1000, seed=0)
    return f"recall {recall.share:.4f}, distances {recall.mean_excess:.2g} too large on average"


def measure(name: str, num_new: int, num_base: int, dimension: int, rounds: int) -> str:
    """A line for one way, in this process."""
    new, base = make_vectors(num_new, dimension, 1), make_vectors(num_base, dimension, 2)
    ways: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
        "bare numpy": bare_numpy,
        "bare torch": bare_torch,
        "ours": find_nearest,
        "torch max": torch_max,
        "ours on ray": find_nearest,
        "faiss flat": faiss_flat,
        "faiss hnsw": faiss_hnsw,
    }
    if name == "ours on ray":
        start_local_ray()
    before_mb = peak_mb()
    note: object = ""
    seconds = []
    for _ in range(1 if name == "faiss hnsw" else rounds):
        start = time.perf_counter()
        note = ways[name](new, base)
        seconds.append(time.perf_counter() - start)
    best = min(seconds)
    rate = 2 * num_new * num_base * dimension / best / 1e9
    shown = f"  {note}" if isinstance(note, str) and note else ""
    return f"{name:12} {best:7.2f} s  {rate:6.1f} GFLOP/s  {peak_mb() - before_mb:6.0f} MB beyond the vectors{shown}"


def start_local_ray() -> None:
    """A Ray of our own on this machine."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray spells it so
    os.environ.pop("RAY_ADDRESS", None)
    import ray

    from metamath_ray.start_ray import prepare_ray_data

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    prepare_ray_data()


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """One process for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, default in (("new", 20_000), ("base", 80_000), ("dimension", 384), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--here", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(measure(options.here, options.new, options.base, options.dimension, options.rounds), flush=True)
        return
    for name in options.only:
        if name.startswith("faiss") and importlib.util.find_spec("faiss") is None:
            print(f"{name:12} faiss is not installed", flush=True)
            continue
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--here", name], check=True)


if __name__ == "__main__":
    main()
