"""Log-probabilities of a text's tokens: by a transformers model in a folder, or by an endpoint that echoes them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metamath_ray.analysis._endpoint import Endpoint, EndpointFailedError, EndpointSetup
from metamath_ray.analysis._local_models import check_model_files, device_of_worker, load_model
from metamath_ray.analysis._options import PerplexityOptions, Place
from metamath_ray.teacher import ApiKey

LogProbs = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScorerSetup:
    """Which model scores, and how it is asked; travels to workers."""

    place: Place
    options: PerplexityOptions
    api_key: ApiKey


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text's token ids, and how many of them, the last ones, are the response's."""

    ids: list[int]
    response_tokens: int


@dataclass(frozen=True, slots=True)
class Score:
    """Sums of -log p over the response's tokens and over all but the first, with the numbers of tokens.

    All zero for a text that was left out.
    """

    response_nll: float = 0.0
    response_tokens: int = 0
    text_nll: float = 0.0
    text_tokens: int = 0


class Scorer(Protocol):
    """Gives log p(token | all before it) for each token of a text but the first."""

    def log_probs(self, texts: Sequence[Encoded]) -> list[LogProbs]:
        """An array for each text, one shorter than its ids. Raises `EndpointFailedError`."""


def check_scorer(setup: ScorerSetup, prompt: str, response: str) -> None:
    """Look the model's files over, or let the endpoint score one text, before anything is started.

    Raises `ValueError` for files, a tokenizer without fast backend or a text that is too long to try, and
    `EndpointFailedError`.
    """
    if not setup.place.is_endpoint:
        check_model_files(Path(setup.place.where))
    tokenizer = load_fast_tokenizer(setup)
    if setup.place.is_endpoint:
        hasty = setup.options.model_copy(update={"max_retries": min(2, setup.options.max_retries)})
        encoded = encode_pair(tokenizer, prompt, response)
        _EndpointScorer(replace(setup, options=hasty)).log_probs([encoded])


def load_fast_tokenizer(setup: ScorerSetup) -> Any:
    """The model's tokenizer. Raises `ValueError` where there is none that tells where in the text a token begins."""
    from transformers import AutoTokenizer

    name = setup.options.tokenizer if setup.place.is_endpoint else setup.place.where
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"no tokenizer could be loaded from {name!r}: {reason}") from None
    if not tokenizer.is_fast:
        raise ValueError(f"the tokenizer of {name!r} is a slow one; it needs a tokenizer.json")
    return tokenizer


def encode_pair(tokenizer: Any, prompt: str, response: str) -> Encoded:
    """The text's ids, tokenised whole; a token is the response's if it begins there."""
    encoded = tokenizer(prompt + response, return_offsets_mapping=True, verbose=False)
    in_response = [start >= len(prompt) and end > start for start, end in encoded.offset_mapping]
    first = in_response.index(True) if True in in_response else len(in_response)
    first = max(first, 1)  # nothing predicts the first token
    return Encoded(list(encoded.input_ids), len(in_response) - first)


class ScoringWorker:
    """Scores blocks of prompts and responses."""

    def __init__(self, setup: ScorerSetup) -> None:
        self._setup = setup
        self._tokenizer = load_fast_tokenizer(setup)
        self._scorer: Scorer = _EndpointScorer(setup) if setup.place.is_endpoint else _ModelScorer(setup)
        self._max_length = setup.options.max_length
        limit = getattr(self._scorer, "max_length", None)
        if limit:
            self._max_length = min(self._max_length, limit)

    def __call__(self, block: pa.Table) -> pa.Table:
        """The columns of `Score`, and `failure`, for a block of `index`, `prompt` and `response`."""
        pairs = zip(block.column("prompt").to_pylist(), block.column("response").to_pylist(), strict=True)
        encoded = list(starmap(partial(encode_pair, self._tokenizer), pairs))
        fits = [
            place
            for place, one in enumerate(encoded)
            if one.response_tokens and len(one.ids) <= self._max_length
        ]
        scores, failure = [Score()] * len(encoded), ""
        try:
            log_probs = self._scorer.log_probs([encoded[place] for place in fits])
            for place, of_text in zip(fits, log_probs, strict=True):
                scores[place] = score_of(of_text, encoded[place].response_tokens)
        except EndpointFailedError as error:
            failure = str(error)
        columns: dict[str, Any] = {"index": block.column("index")}
        columns |= {name: [getattr(score, name) for score in scores] for name in Score.__slots__}
        return pa.table(columns | {"failure": [failure] * len(scores)})


def score_of(log_probs: LogProbs, response_tokens: int) -> Score:
    """The sums of a text whose last `response_tokens` tokens are the response's."""
    return Score(
        response_nll=-float(log_probs[-response_tokens:].sum()),
        response_tokens=response_tokens,
        text_nll=-float(log_probs.sum()),
        text_tokens=len(log_probs),
    )


class _ModelScorer:
    def __init__(self, setup: ScorerSetup) -> None:
        self._device = device_of_worker()
        self._model = load_model(setup.place.where, head=True, device=self._device)
        self._batch_tokens = setup.options.batch_tokens
        self.max_length = getattr(self._model.config, "max_position_embeddings", None)

    def log_probs(self, texts: Sequence[Encoded]) -> list[LogProbs]:
        found: list[LogProbs] = [np.empty(0)] * len(texts)
        for batch in _batches([len(text.ids) for text in texts], self._batch_tokens):
            for place, of_text in zip(batch, self._of_batch([texts[p].ids for p in batch]), strict=True):
                found[place] = of_text
        return found

    def _of_batch(self, batch: list[list[int]]) -> Iterator[LogProbs]:
        import torch

        longest = max(map(len, batch))
        ids = torch.tensor([one + [0] * (longest - len(one)) for one in batch], device=self._device)
        mask = torch.tensor(
            [[1] * len(one) + [0] * (longest - len(one)) for one in batch], device=self._device
        )
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            for row, one in enumerate(batch):
                losses = torch.nn.functional.cross_entropy(
                    logits[row, : len(one) - 1].float(), ids[row, 1 : len(one)], reduction="none"
                )
                yield -losses.double().cpu().numpy()


class _EndpointScorer:
    def __init__(self, setup: ScorerSetup) -> None:
        self._model = setup.options.model
        self._endpoint = Endpoint(EndpointSetup(setup.place.where, setup.options, setup.api_key))

    def log_probs(self, texts: Sequence[Encoded]) -> list[LogProbs]:
        return list(self._endpoint.ask_all(texts, self._ask))

    def _ask(self, text: Encoded) -> LogProbs:
        body = {
            "model": self._model,
            "prompt": text.ids,
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        parse: Callable[[Any], LogProbs] = partial(parse_echo, num_tokens=len(text.ids))
        return self._endpoint.ask("/completions", body, parse)


def parse_echo(answer: Any, *, num_tokens: int) -> LogProbs:
    """The echoed tokens' log-probabilities but the first's. Raises `ValueError` for an answer without them."""
    try:
        values = answer["choices"][0]["logprobs"]["token_logprobs"][:num_tokens]
        log_probs = np.array(values[1:], np.float64)
    except (KeyError, IndexError, TypeError, ValueError):
        raise ValueError("it echoes no log-probabilities of the prompt (vLLM does)") from None
    if len(values) != num_tokens:
        raise ValueError(f"it echoes {len(values)} tokens of {num_tokens}")
    if not np.isfinite(log_probs).all() or not all(value <= 1e-3 for value in log_probs):
        raise ValueError("a log-probability in its answer is none")
    return log_probs


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Places of texts of about the same length, the longest first, `batch_tokens` padded tokens together at most."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and lengths[batch[0]] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
