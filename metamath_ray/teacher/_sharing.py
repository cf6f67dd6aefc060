"""How what is free is shared: slots among workers, calls among endpoints."""

import math
from collections.abc import Callable, Iterable, Sequence

_RECOUNT_AT_ONCE = 50  # workers; with more, the fair level is looked up again after a while only


def fair_level(needs: Iterable[int], capacity: int) -> int:
    """The most that one may have so that all get the lesser of that and their need within `capacity`, rounded up."""
    left, waiting = capacity, sorted(needs)
    for at, need in enumerate(waiting):
        share = left / (len(waiting) - at)
        if need > share:
            return math.ceil(share)
        left -= need
    return capacity


class FairLevel:
    """`fair_level` of one endpoint's slots, remembered for a while where there are very many workers."""

    def __init__(self) -> None:
        self._level = 0
        self._good_until = -math.inf

    def share(
        self, need: int, *, of: int, total_need: int, needs: Callable[[], Sequence[int]], now: float
    ) -> int:
        """What a worker with `need` may have of `of` slots, whose workers together need `total_need`."""
        if total_need <= of:
            return need
        if now >= self._good_until:
            found = needs()
            self._level = fair_level(found, of)
            self._good_until = now + len(found) / 200 if len(found) > _RECOUNT_AT_ONCE else -math.inf
        return min(need, self._level)


def split_by_room(calls: int, rooms: Sequence[int]) -> list[int]:
    """`calls` shared out in proportion to the free capacity of each endpoint, never more than that."""
    total = sum(rooms)
    if calls >= total:
        return list(rooms)
    shares = [calls * room // total for room in rooms]
    while sum(shares) < calls:
        emptiest = max(range(len(rooms)), key=lambda at: (rooms[at] - shares[at]) / max(1, rooms[at]))
        shares[emptiest] += 1
    return shares
