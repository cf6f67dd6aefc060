"""What an evaluation tells Prometheus, through Ray's own metrics."""

import sys

from metamath_ray.evaluation._journal import Completion
from metamath_ray.evaluation._keys import Request


class AnswerMeter:
    """Counts completions as they arrive; counts nothing where no Ray runs, as with `base_url`."""

    def __init__(self) -> None:
        self._is_on = "ray" in sys.modules and sys.modules["ray"].is_initialized()
        if not self._is_on:
            return
        from ray.util.metrics import Counter

        self._completions = Counter(
            "metamath_ray_evaluation_completions",
            "Completions that arrived, by benchmark and why they ended",
            tag_keys=("benchmark", "finish_reason"),
        )
        self._tokens = Counter(
            "metamath_ray_evaluation_tokens", "Tokens of completions that arrived", tag_keys=("benchmark",)
        )

    def arrived(self, request: Request, completion: Completion) -> None:
        """Count one."""
        if not self._is_on:
            return
        benchmark = {"benchmark": request.benchmark}
        self._completions.inc(tags=benchmark | {"finish_reason": completion.finish_reason})
        if completion.completion_tokens:  # a counter refuses to grow by nothing
            self._tokens.inc(completion.completion_tokens, tags=benchmark)
