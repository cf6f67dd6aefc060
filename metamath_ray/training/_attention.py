"""Attention for packed documents on a CPU: each document alone, so that no work goes into what is masked anyway."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

NAME = "documents"
"""The implementation's name in options and in transformers."""

NEEDS_FLAT = frozenset({NAME, "flash_attention_2"})
"""Implementations that take a batch as one sequence without padding, its documents told by `position_ids`."""


def register() -> None:
    """Make the implementation known to transformers; no mask is made for it."""
    AttentionInterface.register(NAME, attend_documents)


def attend_documents(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    position_ids: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each document of one sequence; `query` is (1, heads, tokens, head size).

    A document begins wherever `position_ids` (1, tokens) is 0. A token sees the newest `sliding_window` tokens, with
    itself, or all. Gives (1, tokens, heads, head size).
    """
    assert query.shape[0] == 1, f"documents lie in one sequence, got {query.shape[0]}"
    assert attention_mask is None, "documents are told by position_ids"
    groups = query.shape[1] // key.shape[1]
    parts = _split(query, repeat_kv(key, groups), repeat_kv(value, groups), position_ids)
    attended = [
        scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, **_visible(q.shape[2], sliding_window, q.device)
        )
        for q, k, v in parts
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def _visible(length: int, window: int | None, device: torch.device) -> dict[str, Any]:
    """The mask of a document that is longer than the window; the causal one, which needs none, of any other."""
    if window is None or length <= window:
        return {"is_causal": True}
    return {"attn_mask": torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)}


def _split(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, position_ids: torch.Tensor
) -> Iterator[tuple[torch.Tensor, ...]]:
    starts = [*(position_ids[0] == 0).nonzero().flatten().tolist(), position_ids.shape[1]]
    lengths = [stop - start for start, stop in pairwise(starts)]
    return zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
