"""Packs as the tensors of one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metamath_ray.training._packed import Int64s, Pack

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The target of a position that carries no loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Input of one forward pass; all of shape (B, T) and int64.

    `position_ids` start at 0 with each document and with the padding at the end of a sequence: with them and no
    attention mask, transformers keeps documents from seeing each other. `targets[b, t]` is the token that position
    t must predict, already shifted: the next token of its document where that is the response's, else -100.
    """

    input_ids: "torch.Tensor"
    position_ids: "torch.Tensor"
    targets: "torch.Tensor"


def collate(
    packs: Sequence[Pack],
    *,
    pad_token_id: int,
    device: "torch.device | str | None" = None,
    length: int | None = None,
) -> Batch:
    """One sequence a pack, padded to `length` (default: to the longest pack, at least one token).

    A pack without documents becomes a sequence of padding with no targets. Raises `ValueError` where a pack is
    longer than `length`.
    """
    longest = max([1, *(len(pack.input_ids) for pack in packs)])
    width = longest if length is None else length
    if longest > width:
        raise ValueError(f"length must be at least the longest pack's {longest} tokens, got {width}")
    input_ids = np.full((len(packs), width), pad_token_id, np.int64)
    position_ids = np.zeros((len(packs), width), np.int64)
    targets = np.full((len(packs), width), IGNORED, np.int64)
    for row, pack in enumerate(packs):
        real = len(pack.input_ids)
        input_ids[row, :real] = pack.input_ids
        position_ids[row] = positions([*pack.lengths.tolist(), width - real])
        targets[row, :real] = shifted_targets(pack)
    return _to_batch(input_ids, position_ids, targets, device)


def collate_flat(packs: Sequence[Pack], *, device: "torch.device | str | None" = None) -> Batch:
    """All packs one after another as a single sequence (B = 1) without padding.

    What flash attention needs: transformers reads the documents off `position_ids` only where B is 1, and lets
    packed documents see each other silently otherwise. Raises `ValueError` where there is no token at all.
    """
    if not any(len(pack.input_ids) for pack in packs):
        raise ValueError("a flat batch needs at least one token, got packs without documents only")
    input_ids = np.concatenate([pack.input_ids for pack in packs]).astype(np.int64)
    lengths = [length for pack in packs for length in pack.lengths.tolist()]
    targets = np.concatenate([shifted_targets(pack) for pack in packs])
    return _to_batch(input_ids[None], positions(lengths)[None], targets[None], device)


def positions(lengths: Sequence[int]) -> Int64s:
    """0, 1, 2, … anew for each of the documents, in one array."""
    starts = np.repeat(np.cumsum([0, *lengths])[:-1], lengths)
    counted: Int64s = np.arange(len(starts), dtype=np.int64) - starts
    return counted


def shifted_targets(pack: Pack) -> Int64s:
    """For each token of a pack the next one of its document where that is the response's, else -100."""
    targets = np.full(len(pack.input_ids), IGNORED, np.int64)
    targets[:-1] = pack.input_ids[1:]
    is_next_prompt = positions(pack.lengths.tolist()) + 1 < np.repeat(pack.prompt_lengths, pack.lengths)
    targets[is_next_prompt] = IGNORED
    targets[np.cumsum(pack.lengths) - 1] = IGNORED  # the next token is another document's
    return targets


def _to_batch(
    input_ids: Int64s, position_ids: Int64s, targets: Int64s, device: "torch.device | str | None"
) -> Batch:
    import torch

    arrays = (input_ids, position_ids, targets)
    return Batch(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))
