"""Texts to vectors: by an endpoint, or by a model in a folder, pooled as its sentence-transformers files say."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from metamath_ray.analysis._embedding_cache import EmbeddingWriter, Floats32, text_key
from metamath_ray.analysis._endpoint import Endpoint, EndpointFailedError, EndpointSetup
from metamath_ray.analysis._local_models import check_model_files, device_of_worker, digest_model, load_model
from metamath_ray.analysis._options import EmbeddingOptions, Place
from metamath_ray.teacher import ApiKey

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls", "last"]

_MODULES = "modules.json"
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_TOKENS_A_PASS = 8192


@dataclass(frozen=True, slots=True)
class EmbedderSetup:
    """Which embedder, and how it is asked; travels to workers."""

    place: Place
    options: EmbeddingOptions
    api_key: ApiKey
    pooling: Pooling = "mean"

    def identity(self) -> dict[str, Any]:
        """Everything that decides a text's vector; neither the URL nor the folder's path is part of it."""
        if self.place.is_endpoint:
            return {"model": self.options.model, "dimensions": self.options.dimensions}
        return {
            "model_sha256": digest_model(Path(self.place.where)),
            "pooling": self.pooling,
            "max_length": self.options.max_length,
        }


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector for each text, and which of the texts were cut."""

    vectors: Floats32
    cut: tuple[bool, ...]


class Embedder(Protocol):
    """Embeds texts; those that it can embed at once come together."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        """A finite vector for each text. Raises `EndpointFailedError`."""


def make_setup(place: Place, options: EmbeddingOptions, *, api_key: ApiKey) -> EmbedderSetup:
    """The setup with a folder's pooling and length. Raises `ValueError` where the folder can't be used."""
    if place.is_endpoint:
        return EmbedderSetup(place, options, api_key)
    folder = Path(place.where)
    check_model_files(folder)
    pooling, max_length = _read_sentence_transformer(folder)
    shorter = options.model_copy(update={"max_length": min(options.max_length, max_length)})
    return EmbedderSetup(place, shorter, api_key, pooling)


def make_embedder(setup: EmbedderSetup) -> Embedder:
    """The embedder itself: opens connections or loads weights."""
    return _EndpointEmbedder(setup) if setup.place.is_endpoint else _ModelEmbedder(setup)


def probe_embedder(setup: EmbedderSetup, text: str) -> Embedded:
    """One text's vector, with few retries. Raises `EndpointFailedError`, and `ValueError` for a model's folder."""
    hasty = setup.options.model_copy(update={"max_retries": min(2, setup.options.max_retries)})
    return make_embedder(replace(setup, options=hasty)).embed([text])


class EmbeddingWorker:
    """Embeds blocks of texts and keeps the vectors in the cache; gives back how many, or why it could not."""

    def __init__(self, setup: EmbedderSetup, folder: str, dimension: int) -> None:
        self._setup = setup
        self._embedder = make_embedder(setup)
        self._writer = EmbeddingWriter(Path(folder), dimension=dimension)
        self._dimension = dimension

    def __call__(self, block: pa.Table) -> pa.Table:
        """`num_embedded` and `failure` of a block with the column `text`."""
        texts = block.column("text").to_pylist()
        size = self._setup.options.batch_size
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        try:
            num_embedded = sum(self._keep_all(batches))
        except EndpointFailedError as error:
            return pa.table({"num_embedded": [0], "failure": [str(error)]})
        return pa.table({"num_embedded": [num_embedded], "failure": [""]})

    def _keep_all(self, batches: list[list[str]]) -> Iterator[int]:
        if isinstance(self._embedder, _EndpointEmbedder):
            return self._embedder.endpoint.ask_all(batches, self._keep)
        return map(self._keep, batches)

    def _keep(self, texts: list[str]) -> int:
        embedded = self._embedder.embed(texts)
        if embedded.vectors.shape[1] != self._dimension:
            raise EndpointFailedError(
                f"the embedder gave {embedded.vectors.shape[1]} numbers for a text after {self._dimension}"
            )
        self._writer.append([text_key(text) for text in texts], embedded.vectors, embedded.cut)
        return len(texts)


class _EndpointEmbedder:
    def __init__(self, setup: EmbedderSetup) -> None:
        self._options = setup.options
        self.endpoint = Endpoint(EndpointSetup(setup.place.where, setup.options, setup.api_key))

    def embed(self, texts: Sequence[str]) -> Embedded:
        body: dict[str, Any] = {
            "model": self._options.model,
            "input": list(texts),
            "encoding_format": "float",
        }
        if self._options.dimensions is not None:
            body["dimensions"] = self._options.dimensions
        vectors = self.endpoint.ask("/embeddings", body, lambda answer: parse_vectors(answer, len(texts)))
        return Embedded(vectors, (False,) * len(texts))


class _ModelEmbedder:
    def __init__(self, setup: EmbedderSetup) -> None:
        from transformers import AutoTokenizer

        self._setup = setup
        self._device = device_of_worker()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(setup.place.where, trust_remote_code=False)
        self._tokenizer.padding_side = "right"
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = load_model(setup.place.where, head=False, device=self._device)
        positions = getattr(self._model.config, "max_position_embeddings", None) or setup.options.max_length
        self._max_length = min(setup.options.max_length, positions)

    def embed(self, texts: Sequence[str]) -> Embedded:
        lengths = [len(ids) for ids in self._tokenizer(list(texts), verbose=False).input_ids]
        vectors: list[Floats32] = [np.empty(0, np.float32)] * len(texts)
        for batch in _batches([min(length, self._max_length) for length in lengths]):
            pooled = self._embed_batch([texts[place] for place in batch])
            for place, vector in zip(batch, pooled, strict=True):
                vectors[place] = vector
        return Embedded(np.stack(vectors), tuple(length > self._max_length for length in lengths))

    def _embed_batch(self, texts: list[str]) -> Floats32:
        import torch

        encoded = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        )
        ids, mask = encoded.input_ids.to(self._device), encoded.attention_mask.to(self._device)
        with torch.inference_mode():
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled: Floats32 = _pool(states, mask, self._setup.pooling).float().cpu().numpy()
        return pooled


def parse_vectors(answer: Any, num_texts: int) -> Floats32:
    """The vectors in an embeddings answer, in the order of the texts. Raises `ValueError` for anything else."""
    try:
        entries = sorted(answer["data"], key=lambda entry: entry["index"])
        vectors = np.array([entry["embedding"] for entry in entries], np.float32)
    except (KeyError, TypeError, ValueError):
        raise ValueError("the answer holds no list of embeddings") from None
    if vectors.ndim != 2 or len(vectors) != num_texts or not vectors.shape[1]:
        raise ValueError(f"the answer holds {len(vectors)} embeddings for {num_texts} texts")
    if not np.isfinite(vectors).all():
        raise ValueError("an embedding in the answer is not finite")
    return vectors


def _pool(states: "torch.Tensor", mask: "torch.Tensor", pooling: Pooling) -> "torch.Tensor":
    """`states` (texts, tokens, dimension) to (texts, dimension); padding, on the right, counts nowhere."""
    import torch

    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of about the same length, `_TOKENS_A_PASS` padded tokens together at most."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[place] * (len(batch) + 1) > _TOKENS_A_PASS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _read_sentence_transformer(folder: Path) -> tuple[Pooling, int]:
    """Pooling and longest text of a sentence-transformers folder; the mean and no limit for any other.

    Raises `ValueError` for modules that change a vector in a way that is not done here.
    """
    no_limit = 1 << 30
    if not (folder / _MODULES).is_file():
        return "mean", no_limit
    try:
        modules = json.loads((folder / _MODULES).read_text(encoding="utf-8"))
        kinds = {module["type"].rsplit(".", 1)[-1]: module.get("path", "") for module in modules}
        unknown = sorted(set(kinds) - set(_KNOWN_MODULES))
        if unknown:
            raise ValueError(f"its module {unknown[0]} is not known; known are {', '.join(_KNOWN_MODULES)}")
        path = folder / "sentence_bert_config.json"
        limit = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path.is_file() else None
        pooling = _read_pooling(folder / kinds["Pooling"] / "config.json") if "Pooling" in kinds else "mean"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"embedder {folder} can't be used: {error}") from None
    return pooling, int(limit or no_limit)


def _read_pooling(path: Path) -> Pooling:
    config = json.loads(path.read_text(encoding="utf-8"))
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ValueError(
            f"its pooling {' and '.join(modes) or 'none'} is not known; known are mean, cls, lasttoken"
        )
    return _POOLINGS[modes[0]]
