"""Which documents share a sequence: best-fit decreasing."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pack_documents(lengths: Sequence[int], *, max_length: int) -> list[list[int]]:
    """Documents by index, shared out so that no pack has more than `max_length` tokens.

    Every document is in exactly one pack. The longest go first, each into the pack that it fills best (of
    equals, the one filled last); the same lengths give the same packs. Takes O(n) steps, each an operation
    on an integer of `max_length` bits. Raises `ValueError` for a length outside 1 to `max_length`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    _check(sizes, max_length)
    packs: list[list[int]] = []
    open_packs: list[list[int]] = [[] for _ in range(max_length + 1)]  # by the tokens they have left
    rooms = 0  # bit r is set while a pack has exactly r tokens left
    for document in np.argsort(-sizes, kind="stable").tolist():
        length = int(sizes[document])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            pack = open_packs[room].pop()
            packs[pack].append(document)
            rooms ^= 0 if open_packs[room] else 1 << room
        else:
            room, pack = max_length, len(packs)
            packs.append([document])
        open_packs[room - length].append(pack)
        rooms |= 1 << (room - length)
    return packs


def _check(sizes: npt.NDArray[np.int64], max_length: int) -> None:
    bad = np.flatnonzero((sizes < 1) | (sizes > max_length))
    if len(bad):
        raise ValueError(
            f"a document's length must be 1 to max_length = {max_length}, "
            f"got {sizes[bad[0]]} for document {bad[0]}"
        )
