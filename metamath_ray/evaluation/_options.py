"""What a user says of an evaluation; one model for YAML, flags and defaults."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from metamath_ray.answers import RuleSet
from metamath_ray.problems import Style

PAPER_STOP = (
    "Question:",
    "Question",
    "USER:",
    "USER",
    "ASSISTANT:",
    "ASSISTANT",
    "Instruction:",
    "Instruction",
    "Response:",
    "Response",
)
"""The ten stop strings of the paper's evaluation."""

PAPER_MAX_NEW_TOKENS: dict[Style, int] = {"gsm": 512, "math": 2048}
"""New tokens of the paper's evaluation, by the style of a benchmark's problems."""

ALL = "all"
"""The name under which `max_new_tokens` takes a limit for every benchmark that is not named."""

_BENCHMARK = re.compile(r"[a-z0-9_-]+(?::.+)?")

_Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


class EngineOptions(BaseModel):
    """How vLLM runs the model; without meaning where `base_url` names a running server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="where to run; auto takes GPUs if there are any"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="of weights and activations; auto: what the model's config says"
    )
    max_num_seqs: int = Field(256, ge=1, description="completions that one replica decodes at a time")
    max_model_len: int | None = Field(
        None, ge=16, description="longest prompt with completion, in tokens (default: what the model allows)"
    )
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="share of a GPU's memory that one engine takes"
    )
    cpu_kv_cache_gb: float = Field(2.0, gt=0, description="on CPU: memory of one engine's KV cache, in GB")
    cpus_per_replica: int | None = Field(
        None, ge=1, description="CPU cores of a replica (default: on CPU all of the machine's, shared out)"
    )
    enforce_eager: bool | None = Field(
        None, description="start without compiling: quicker start, slower steps (default: yes on a CPU only)"
    )
    start_timeout_s: float = Field(
        900.0, gt=0, description="a replica that is not ready after this many seconds has failed"
    )


class EndpointOptions(BaseModel):
    """How a running OpenAI-compatible server is asked; without meaning without `base_url`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api: Literal["completions", "chat"] = Field(
        "completions",
        description="which of the two is asked; chat sends the prompt as one user message, in its own template",
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        description="environment variable with the key; may be unset for a server that asks for none",
    )


class ModelOptions(BaseModel):
    """How a model is run by engines of our own: what evaluation and serving share."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field("", description="model: a folder or hub name")
    adapter: str = Field(
        "",
        description="folder of a LoRA adapter (PEFT) that every request goes through; without it the model alone",
    )
    replicas: int = Field(1, ge=1, le=4096, description="engines side by side")
    tensor_parallel_size: int = Field(1, ge=1, le=64, description="devices of one engine")
    engine: EngineOptions = EngineOptions()
    exact: bool = Field(
        False,
        description="fp32 and no prefix cache: completions don't depend on the batch; slower",
    )
    batch_invariant: bool = Field(
        False, description="vLLM's batch-invariant kernels: the same on a GPU, at bf16 (not on CPU)"
    )

    @model_validator(mode="after")
    def _engines_can_do_it(self) -> Self:
        if self.exact and self.batch_invariant:
            raise ValueError("exact and batch_invariant exclude each other; give one of them")
        if self.exact and self.engine.dtype not in ("auto", "float32"):
            raise ValueError(f"exact runs in float32, but engine.dtype is {self.engine.dtype}; leave it out")
        if self.batch_invariant and self.engine.device == "cpu":
            raise ValueError("batch_invariant works on GPUs only; on a CPU give exact")
        return self


class EvaluationOptions(ModelOptions):
    """Everything that decides an evaluation, and how it is run."""

    model: str = Field(
        "",
        description="model to evaluate: a folder or hub name; with --base-url the name that it is served by",
    )
    base_url: str = Field("", description="OpenAI-compatible server to ask, instead of starting an engine")
    benchmarks: tuple[str, ...] = Field(
        ("bundled",),
        min_length=1,
        description="each NAME or NAME:PATH: bundled, bundled_backward; gsm8k, math, gsm8k_backward (from the HF hub "
        "without a path); any other name with a JSONL file of problems",
    )
    limit: int | None = Field(None, ge=1, description="take N problems of each benchmark")
    limit_order: Literal["spread", "first"] = Field(
        "spread",
        description="which N: spread evenly over the file (MATH's lies in order of subjects), or the first",
    )
    output: Path = Field(
        Path("runs/evaluation"),
        description="folder that the evaluation writes, and goes on with; a comparison goes into its second folder "
        "where none is named",
    )
    grader: RuleSet = Field("fixed", description="rules of the headline; verdicts by both are always kept")
    prompt: str = Field(
        "metamath",
        description="'metamath' (what the student was trained on), 'few-shot' (for models that were not), "
        "or a text file with {question} in it",
    )
    stop: tuple[str, ...] = Field(PAPER_STOP, description="texts at which a completion ends")
    max_new_tokens: dict[str, _Tokens] = Field(
        {},
        description="--max-new-tokens.NAME N for a benchmark, .all for the others "
        "(default: 512, where problems are MATH's 2048)",
    )

    samples: int = Field(
        0, ge=0, le=10_000, description="completions at --temperature of each problem, beside the greedy one"
    )
    temperature: float | None = Field(
        None, gt=0, le=10, description="of the samples (default: 0.7); the greedy completion has none"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="of the samples")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the samples")
    endpoint: EndpointOptions = EndpointOptions()
    max_in_flight: int | None = Field(
        None,
        ge=1,
        description="requests in flight at a time (default: replicas x max_num_seqs with room; a server: 64)",
    )
    request_timeout_s: float | None = Field(
        None,
        gt=0,
        description="a request without completion after this many seconds is sent again (default: at a server "
        "1800; engines of our own are watched instead, and may be as slow as they are)",
    )
    deadline_s: float = Field(
        3600.0,
        gt=0,
        description="the run fails where a request has failed again and again for this many seconds",
    )

    regrade: bool = Field(
        False, description="score the predictions saved in --output again; no model is needed"
    )
    compare: tuple[Path, ...] = Field(
        (), description="A B: compare the predictions of two finished evaluations; no model is needed"
    )

    @field_validator("benchmarks")
    @classmethod
    def _benchmarks_are_named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not _BENCHMARK.fullmatch(text):
                raise ValueError(
                    f"must be NAME or NAME:PATH with a name of the characters a-z 0-9 _ -, got {text!r}"
                )
        names = [text.partition(":")[0] for text in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"must name each benchmark once, got {', '.join(twice)} more than once")
        return value

    @field_validator("stop")
    @classmethod
    def _stop_strings_hold_text(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("must be non-empty texts, got ''")
        return value

    @field_validator("base_url")
    @classmethod
    def _base_url_is_http(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (url.scheme not in ("http", "https") or not url.hostname):
            raise ValueError("must be an http:// or https:// address")
        if url.username or url.password or url.query:
            raise ValueError(
                "must hold no user, password or query: a key goes into endpoint.api_key_env's variable"
            )
        return value

    @model_validator(mode="after")
    def _says_what_to_do(self) -> "EvaluationOptions":
        if self.compare and len(self.compare) != 2:
            raise ValueError(f"compare takes two folders of finished evaluations, got {len(self.compare)}")
        if self.compare and self.regrade:
            raise ValueError("compare and regrade are two things to do; give one of them")
        if not (self.model or self.base_url or self.compare or self.regrade):
            raise ValueError("model or base_url must be given, or regrade or compare")
        return self

    @model_validator(mode="after")
    def _limits_are_for_benchmarks(self) -> "EvaluationOptions":
        names = [text.partition(":")[0] for text in self.benchmarks]
        known = {name.replace("-", "_") for name in (*names, ALL)}
        for name in self.max_new_tokens:
            if name.replace("-", "_") not in known:
                raise ValueError(
                    f"max_new_tokens.{name} is of no benchmark of this evaluation; "
                    f"allowed are {', '.join(names)} and {ALL}"
                )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "EvaluationOptions":
        if self.temperature is not None and not self.samples:
            raise ValueError("temperature needs samples: the greedy completion has none")
        if self.base_url and (self.exact or self.batch_invariant):
            raise ValueError("exact and batch_invariant need an engine of our own: give no base_url")
        if self.base_url and self.adapter:
            raise ValueError(
                "adapter needs an engine of our own: start the server with it, or give no base_url"
            )
        return self

    @property
    def sample_temperature(self) -> float:
        """Temperature of the samples."""
        return 0.7 if self.temperature is None else self.temperature

    def max_new_tokens_for(self, benchmark: str, *, style: Style) -> int:
        """The most new tokens for a problem of that benchmark; names match with `-` and `_` alike."""
        given = {name.replace("-", "_"): limit for name, limit in self.max_new_tokens.items()}
        default = given.get(ALL, PAPER_MAX_NEW_TOKENS[style])
        return given.get(benchmark.replace("-", "_"), default)
