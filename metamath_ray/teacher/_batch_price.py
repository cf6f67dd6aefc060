"""What requests will hardly cost more than, in batches: the budget must have room for all that is in flight."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from metamath_ray.teacher._accounts import CallSize
from metamath_ray.teacher._batch_lines import RequestLine
from metamath_ray.teacher._client import Completion
from metamath_ray.teacher._options import TeacherOptions

_KNOWN_AFTER = 30  # replies to one few-shot prompt
_BYTES_A_TOKEN = 3.0  # at first, rather few
_MARGIN = 1.05


@dataclass
class BatchLoad:
    """Requests as far as their price depends on them: bytes, and samples by few-shot prompt."""

    size: int = 0
    samples: Counter[str] = field(default_factory=Counter)

    def add(self, line: RequestLine) -> None:
        """Count one more request."""
        self.size += len(line.data)
        self.samples[line.prompt] += line.request.num_samples


def total_load(loads: Iterable[BatchLoad]) -> BatchLoad:
    """The sum."""
    total = BatchLoad()
    for load in loads:
        total.size += load.size
        total.samples.update(load.samples)
    return total


class BatchPrice:
    """Learns from replies how long they are; until then each sample may take all of `teacher.max_tokens`."""

    def __init__(self, options: TeacherOptions) -> None:
        self._options = options
        self._sizes: dict[str, CallSize] = defaultdict(CallSize)
        self._bytes = self._tokens = 0

    def learn(self, line: RequestLine, answer: Completion) -> None:
        """Take in what a request was billed."""
        samples = max(1, len(answer.choices))
        each = answer.completion_tokens / samples
        self._sizes[line.prompt].add(samples, answer.completion_tokens, round(samples * each * each))
        self._bytes += len(line.data)
        self._tokens += answer.prompt_tokens

    def most_usd(self, load: BatchLoad) -> float:
        """What the requests will hardly cost more than."""
        is_known = sum(size.calls for size in self._sizes.values()) >= _KNOWN_AFTER
        tokens_a_byte = _MARGIN * self._tokens / self._bytes if is_known else 1 / _BYTES_A_TOKEN
        return self._options.usd(
            prompt_tokens=load.size * tokens_a_byte,
            completion_tokens=sum(self._most(name, samples) for name, samples in load.samples.items()),
            in_batch=True,
        )

    def _most(self, prompt: str, samples: int) -> float:
        size, limit = self._sizes[prompt], float(samples * self._options.max_tokens)
        if size.calls < _KNOWN_AFTER:
            return limit
        spread = (
            size.most(1) - size.mean
        ) / 4  # of one sample; the mean itself is known to a part of it only
        return min(limit, size.most(samples) + 3 * spread * samples / math.sqrt(size.calls))
