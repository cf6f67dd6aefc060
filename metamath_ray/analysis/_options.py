"""What a user says of the analyses; one model for YAML, flags and defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

AnalysisName = Literal["diversity", "perplexity", "overlap", "length", "correlation"]
TextOf = Literal["row", "query", "response"]
"""What of a row is meant: its query and response as one text, or one of them."""

ENDPOINT = "endpoint:"
MODEL = "model:"

_FORM = "must be endpoint:URL of an OpenAI-compatible server or model:FOLDER"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is: behind an endpoint's base URL, or in a folder (or under a hub name)."""

    is_endpoint: bool
    where: str


def parse_place(text: str) -> Place:
    """The place that `endpoint:URL` or `model:FOLDER` names. Raises `ValueError` for anything else."""
    if text.startswith(MODEL) and len(text) > len(MODEL):
        return Place(False, str(Path(text.removeprefix(MODEL)).expanduser()))
    if not text.startswith(ENDPOINT):
        raise ValueError(f"{_FORM}, got {text.partition(':')[0]!r}")
    url = text.removeprefix(ENDPOINT)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{_FORM}; the URL begins with http:// or https://")
    if parts.username or parts.password or parts.query:
        raise ValueError("must hold no user, password or query: a key goes into api_key_env's variable")
    return Place(True, url)


def _check_place(text: str) -> str:
    if text:
        parse_place(text)
    return text


_PlaceText = Annotated[str, AfterValidator(_check_place)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class EndpointOptions(_Options):
    """How an OpenAI-compatible server is asked; without meaning for a model in a folder."""

    model: str = Field("", description="name that the endpoint serves the model by")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="environment variable with the endpoint's key; unset: no key is sent"
    )
    max_in_flight: int = Field(8, ge=1, le=4096, description="requests to the endpoint at a time")
    timeout_s: float = Field(120.0, gt=0, description="seconds that one request may take")
    max_retries: int = Field(
        10, ge=0, description="tries after a time-out, reset, 429 or 5xx, with growing pauses"
    )


class EmbeddingOptions(EndpointOptions):
    """How texts become vectors."""

    dimensions: int | None = Field(
        None, ge=1, description="ask the endpoint for shorter vectors (default: the model's own)"
    )
    batch_size: int = Field(64, ge=1, le=2048, description="texts of one request")
    max_length: int = Field(
        512, ge=8, description="tokens of a text that a model in a folder reads; the rest is cut, and counted"
    )
    cache: Path = Field(
        Path("runs/embedding_cache"),
        description="folder that keeps every vector: no text is embedded (or paid) twice",
    )


class DiversityOptions(_Options):
    """How far new rows lie from the base set."""

    text: TextOf = Field("row", description="what is embedded: row (query and response), query, or response")
    unit_length: bool = Field(
        True, description="scale vectors to length 1, as OpenAI's are: squared distances from 0 to 4"
    )
    exact_up_to: int = Field(
        500_000,
        ge=0,
        description="base rows up to which every pair is compared; beyond, an index (faiss) finds the nearest",
    )
    recall_sample: int = Field(
        1000, ge=1, description="new rows on which the index is checked against all pairs"
    )


class PerplexityOptions(EndpointOptions):
    """How a base model scores rows."""

    tokenizer: str = Field(
        "", description="folder or hub name of the tokenizer of the endpoint's model; needed with endpoint:"
    )
    prompt: Literal["student", "plain"] = Field(
        "student",
        description="what stands before the response: the training prompt, or the bare query and a newline",
    )
    max_length: int = Field(2048, ge=8, description="tokens of prompt and response; longer rows are left out")
    batch_tokens: int = Field(2048, ge=1, description="padded tokens of one forward pass")


class OverlapOptions(_Options):
    """What counts as shared between two sets."""

    text: TextOf = Field("query", description="what is compared: query, response, or row (both)")
    gram_words: int = Field(13, ge=2, le=64, description="words in a row that make a shared run")
    threshold: float = Field(
        0.6, gt=0.3, le=1, description="Jaccard similarity of word trigrams of a near-duplicate"
    )
    pairs_per_row: int = Field(
        5, ge=1, description="near-duplicates listed of one text at most, nearest first"
    )


class AnalysisOptions(_Options):
    """Everything that decides the analyses, and how they are run."""

    analyses: tuple[AnalysisName, ...] = Field(
        (), description="which: diversity perplexity overlap length correlation"
    )
    data: str = Field(
        "", description="the rows: a build's run directory, a JSON, JSONL or Parquet file, or gsm8k:PATH"
    )
    base: str = Field("", description="the set that the rows are held against; as data")
    types: tuple[str, ...] = Field((), description="take the rows of these types only, such as GSM_SV")
    base_types: tuple[str, ...] = Field((), description="the same for the base set")
    limit: int | None = Field(None, ge=1, description="take N rows, drawn by seed")
    base_limit: int | None = Field(None, ge=1, description="the same for the base set")
    seed: int = Field(0, ge=0, lt=2**32, description="of the draws")
    embedder: _PlaceText = Field("", description="for diversity: endpoint:URL or model:FOLDER")
    language_model: _PlaceText = Field("", description="for perplexity: endpoint:URL or model:FOLDER")
    evaluations: tuple[Path, ...] = Field(
        (), description="for length: outputs of evaluations, or single predictions/*.parquet"
    )
    mixes: Path | None = Field(
        None,
        description="for correlation: CSV, JSONL or Parquet with mix, diversity_gain, accuracy (or accuracy_gain)",
    )
    output: Path = Field(Path("runs/analysis"), description="folder that the analyses write")
    num_workers: int | None = Field(
        None, ge=1, description="copies of a model side by side (default: one, or one for each GPU)"
    )
    embedding: EmbeddingOptions = EmbeddingOptions()
    diversity: DiversityOptions = DiversityOptions()
    perplexity: PerplexityOptions = PerplexityOptions()
    overlap: OverlapOptions = OverlapOptions()

    @field_validator("analyses")
    @classmethod
    def _analyses_are_named_once(cls, value: tuple[AnalysisName, ...]) -> tuple[AnalysisName, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _has_what_its_analyses_need(self) -> Self:
        if not self.analyses:
            raise ValueError(
                "analyses must name at least one of diversity, perplexity, overlap, length, correlation"
            )
        given = {
            "data": bool(self.data),
            "base": bool(self.base),
            "embedder": bool(self.embedder),
            "language_model": bool(self.language_model),
            "evaluations": bool(self.evaluations),
            "mixes": self.mixes is not None,
        }
        for analysis in self.analyses:
            for name in _NEEDS[analysis]:
                if not given[name]:
                    raise ValueError(f"analysis {analysis} needs --{name.replace('_', '-')}")
        return self

    @model_validator(mode="after")
    def _endpoints_are_whole(self) -> Self:
        if "diversity" in self.analyses and self.embedder.startswith(ENDPOINT) and not self.embedding.model:
            raise ValueError("embedder endpoint: needs --embedding.model, the name that it serves")
        if "perplexity" in self.analyses and self.language_model.startswith(ENDPOINT):
            for name in ("model", "tokenizer"):
                if not getattr(self.perplexity, name):
                    raise ValueError(f"language_model endpoint: needs --perplexity.{name}")
        return self


_NEEDS: dict[AnalysisName, tuple[str, ...]] = {
    "diversity": ("data", "base", "embedder"),
    "perplexity": ("data", "language_model"),
    "overlap": ("data", "base"),
    "length": ("evaluations",),
    "correlation": ("mixes",),
}
