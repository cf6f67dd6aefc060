"""Rows as token ids: prompt, response and end-of-sequence token, in batches, on Ray Data where Ray runs."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metamath_ray.dataset_rows import DatasetRow
from metamath_ray.training._packed import Int32s, Int64s
from metamath_ray.training._template import Compat, render_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_Number = TypeVar("_Number", bound=np.generic)
_ROWS_A_BLOCK = 4096
_ROWS_A_CALL = 512
_ANCHOR = "\n"


@dataclass(frozen=True, slots=True)
class Documents:
    """Tokenised rows, in the rows' order: document i is `input_ids[offsets[i] : offsets[i + 1]]`.

    Its first `prompt_lengths[i]` tokens are the prompt's, the rest are response and end-of-sequence token.
    """

    input_ids: Int32s
    offsets: Int64s
    prompt_lengths: Int32s

    @property
    def lengths(self) -> Int64s:
        """Tokens of each document."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> Int32s:
        return self.input_ids[self.offsets[index] : self.offsets[index + 1]]


def tokenise_rows(rows: Sequence[DatasetRow], *, model: str, compat: Compat = "fixed") -> Documents:
    """Every row with the tokenizer of `model`, in full length; on Ray Data where Ray runs and they are many."""
    tables = list(_row_tables(rows))
    tokenise = partial(_tokenise_table, model=model, compat=compat)
    is_worth_workers = len(tables) > 1 and _ray_runs()  # they take seconds to start
    blocks = _map_on_ray(tables, tokenise) if is_worth_workers else [tokenise(table) for table in tables]
    return _join(blocks)


def encode_documents(
    tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str], responses: Sequence[str]
) -> tuple[list[list[int]], list[int]]:
    """Ids of each document, and how many of them are its prompt's, a beginning-of-sequence token included.

    Prompt and response are tokenised apart: a generating model continues a tokenised prompt, so no token may
    reach over the boundary (Qwen's tokenizer has one for `:$`). A beginning-of-sequence token stands where the
    tokenizer adds one.
    """
    start = [tokenizer.bos_token_id] if _adds_bos(tokenizer) else []
    prompt_ids = [start + ids for ids in _encode(tokenizer, prompts)]
    response_ids = _encode_continuations(tokenizer, responses)
    end = [tokenizer.eos_token_id]
    documents = [prompt + response + end for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    return documents, [len(prompt) for prompt in prompt_ids]


def tokenizer_identity(tokenizer: "PreTrainedTokenizerBase") -> str:
    """16 hex digits that change with everything that turns text into ids.

    Raises `ValueError` for a tokenizer without a fast backend.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} is a slow one; it needs a tokenizer.json"
        )
    state = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    state.update(f"{tokenizer.bos_token_id} {tokenizer.eos_token_id} {_adds_bos(tokenizer)}".encode())
    return state.hexdigest()[:16]


def _encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
    ).input_ids
    return list(encoded)


def _encode_continuations(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts in the middle of a sequence: a sentencepiece tokenizer would begin a text with a blank.

    So each is read behind a newline, whose ids are cut off again; where they melt into the text's (a text that
    begins with a newline, in byte-level tokenizers, which add no blank) it is read alone.
    """
    anchor = _encode(tokenizer, [_ANCHOR])[0]
    anchored = _encode(tokenizer, [_ANCHOR + text for text in texts])
    melted = [i for i, ids in enumerate(anchored) if ids[: len(anchor)] != anchor]
    continuations = [ids[len(anchor) :] for ids in anchored]
    for i, alone in zip(
        melted, _encode(tokenizer, [texts[i] for i in melted]) if melted else [], strict=True
    ):
        continuations[i] = alone
    return continuations


def _adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    ids = tokenizer("a").input_ids
    return bool(tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id])


def _row_tables(rows: Sequence[DatasetRow]) -> Iterator[pa.Table]:
    for start in range(0, len(rows), _ROWS_A_BLOCK):
        block = rows[start : start + _ROWS_A_BLOCK]
        yield pa.table(
            {
                "index": np.arange(start, start + len(block)),
                "query": pa.array([row.query for row in block], pa.large_string()),
                "response": pa.array([row.response for row in block], pa.large_string()),
            }
        )


def _tokenise_table(table: pa.Table, *, model: str, compat: Compat) -> pa.Table:
    tokenizer = _cached_tokenizer(model)
    ids: list[list[int]] = []
    prompt_lengths: list[int] = []
    for batch in table.to_batches(max_chunksize=_ROWS_A_CALL):
        prompts = [render_prompt(query, compat=compat) for query in batch.column("query").to_pylist()]
        documents, lengths = encode_documents(tokenizer, prompts, batch.column("response").to_pylist())
        ids += documents
        prompt_lengths += lengths
    return pa.table(
        {
            "index": table.column("index"),
            "input_ids": pa.array(ids, pa.list_(pa.int32())),
            "prompt_length": pa.array(prompt_lengths, pa.int32()),
        }
    )


@cache
def _cached_tokenizer(model: str) -> "PreTrainedTokenizerBase":
    from metamath_ray.training._model import load_tokenizer

    return load_tokenizer(model)


def _ray_runs() -> bool:
    ray = sys.modules.get("ray")  # not imported, not running: the import alone takes seconds
    return ray is not None and bool(ray.is_initialized())


def _map_on_ray(tables: list[pa.Table], tokenise: "partial[pa.Table]") -> list[pa.Table]:
    import ray

    dataset = ray.data.from_arrow(tables).map_batches(
        tokenise, batch_format="pyarrow", batch_size=None, zero_copy_batch=True
    )
    blocks: list[pa.Table] = ray.get(dataset.to_arrow_refs())
    filled = [block for block in blocks if block.num_rows]
    return sorted(filled, key=lambda block: block.column("index")[0].as_py())


def _join(blocks: Sequence[pa.Table]) -> Documents:
    indices = _concatenate(np.int64, (block.column("index").to_numpy() for block in blocks))
    assert (indices == np.arange(len(indices))).all(), "a block lost its order"
    chunks = [chunk for block in blocks for chunk in block.column("input_ids").chunks]
    lengths = _concatenate(np.int64, (np.diff(chunk.offsets.to_numpy()) for chunk in chunks))
    return Documents(
        input_ids=_concatenate(np.int32, (chunk.flatten().to_numpy() for chunk in chunks)),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        prompt_lengths=_concatenate(np.int32, (block.column("prompt_length").to_numpy() for block in blocks)),
    )


def _concatenate(dtype: type[_Number], arrays: Iterable[npt.NDArray[Any]]) -> npt.NDArray[_Number]:
    joined: npt.NDArray[_Number] = np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype, copy=False)
    return joined
