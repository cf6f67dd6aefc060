"""The real symbolic worker, whose comparison of `greedy` takes all memory that it is allowed.

No pair is known that makes sympy take a gigabyte before its two seconds are over.
"""

import sys
from typing import Any

from metamath_ray.answers import _symbolic_worker

load_math_verify = _symbolic_worker._load_math_verify


def load_greedy() -> Any:
    compare = load_math_verify()

    def compare_greedily(predicted: str, gold: str) -> str:
        taken = []
        while predicted == "greedy":
            taken.append(b"x" * 2**20)
        if predicted == "at once":
            taken.append(b"x" * 2**40)
        return str(compare(predicted, gold))

    return compare_greedily


if __name__ == "__main__":
    _symbolic_worker._load_math_verify = load_greedy
    _symbolic_worker.main(float(sys.argv[1]), int(sys.argv[2]))
