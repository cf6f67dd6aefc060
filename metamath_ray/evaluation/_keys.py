"""What is asked of a model, and the key under which its completion is kept."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from metamath_ray.evaluation._benchmarks import Benchmark
from metamath_ray.evaluation._options import EvaluationOptions
from metamath_ray.problems import Problem

GREEDY = 0
"""`sample_index` of the greedy completion; samples at a temperature count from 1."""

_WHOLE = 1 << 22
_PIECE = 1 << 14
_NUM_PIECES = 256


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn; `seed` is None for a greedy one."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...]
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that an evaluation needs; `key` is the same whenever the same is asked of the same model."""

    key: str
    benchmark: str
    problem: Problem
    sample_index: int
    prompt: str
    sampling: Sampling


def plan_requests(
    benchmark: Benchmark,
    *,
    options: EvaluationOptions,
    render: Callable[[Problem], str],
    identity: Mapping[str, str],
) -> tuple[Request, ...]:
    """The greedy request of each problem and its samples, in order of problem and sample.

    `render` writes a problem's prompt. `identity` is all that decides a completion beside prompt and
    sampling: the model's fingerprint, its precision, the engine's name. What is not in it may change
    between two runs of one output folder, and the saved completions stay valid.
    """
    requests = []
    for problem in benchmark.problems:
        prompt = render(problem)
        for index in range(options.samples + 1):
            sampling = _sampling(problem, benchmark.name, index, options)
            key = request_key(problem.id, index, prompt=prompt, sampling=sampling, identity=identity)
            requests.append(Request(key, benchmark.name, problem, index, prompt, sampling))
    assert len({request.key for request in requests}) == len(requests)
    return tuple(requests)


def request_key(
    problem_id: str, sample_index: int, *, prompt: str, sampling: Sampling, identity: Mapping[str, str]
) -> str:
    """SHA-256, 64 hex digits, of the canonical JSON of all that decides a completion."""
    asked = {
        "problem_id": problem_id,
        "sample_index": sample_index,
        "prompt": prompt,
        "sampling": asdict(sampling),
        "identity": dict(identity),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def fingerprint_model(model: str) -> str:
    """What tells one model folder from another: SHA-256 of its files' names, sizes and contents.

    Of a file of more than 4 MiB, such as weights, the size and 256 pieces of 16 KiB, from its first bytes to its
    last: a training that leaves embeddings and norms alone is seen too. A name that is no folder is its own
    fingerprint.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != "."):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for piece in _pieces(file, size):
                digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    if size <= _WHOLE:
        yield file.read()
        return
    for number in range(_NUM_PIECES):
        file.seek(number * (size - _PIECE) // (_NUM_PIECES - 1))
        yield file.read(_PIECE)


def _sampling(problem: Problem, benchmark: str, index: int, options: EvaluationOptions) -> Sampling:
    max_new_tokens = options.max_new_tokens_for(benchmark, style=problem.style)
    if index == GREEDY:
        return Sampling(0.0, 1.0, max_new_tokens, options.stop)
    seed = _sample_seed(options.seed, problem.id, index)
    return Sampling(options.sample_temperature, options.top_p, max_new_tokens, options.stop, seed)


def _sample_seed(seed: int, problem_id: str, index: int) -> int:
    """A seed of 31 bits of its own for each sample, so that the order of sending changes nothing."""
    digest = hashlib.sha256(f"{seed}\0{problem_id}\0{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
