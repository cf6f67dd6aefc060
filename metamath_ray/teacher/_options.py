"""What a user says of the teacher: where it is, what it is asked, what it may cost."""

import os
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from metamath_ray.teacher._batch_options import BatchOptions
from metamath_ray.teacher._endpoints import (
    KEY_VARIABLE,
    MAX_IN_FLIGHT,
    EndpointOptions,
    check_url,
    read_endpoints,
)


class TeacherOptions(BaseModel):
    """The teacher's endpoints, its sampling and its limits.

    `model`, `temperature`, `top_p` and `max_tokens` are part of every ledger key; all the rest may
    change between two runs of one command without a stored reply being asked for again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = Field(
        None,
        description="OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1; "
        "without it only the replies in the ledger are used",
    )
    model: str = Field(
        "qwen2.5-coder-1.5b-instruct-w8a8", min_length=1, description="model name sent to the endpoint"
    )
    interface: Literal["chat", "batch"] = Field(
        "chat",
        description="'chat': a request at a time, at once; 'batch': files of requests through the provider's batch "
        "interface, answered within a day, at teacher.batch.discount",
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        pattern=KEY_VARIABLE,
        description="environment variable that holds the API key (the key itself is never an option)",
    )
    rpm: int | None = Field(None, ge=1, description="requests a minute allowed for the whole cluster")
    tpm: int | None = Field(
        None, ge=1, description="prompt and completion tokens a minute for the whole cluster"
    )
    max_in_flight: int = Field(
        64,
        ge=1,
        le=MAX_IN_FLIGHT,
        description="requests in flight at once, whole cluster (one worker: 4096)",
    )
    endpoints: tuple[EndpointOptions, ...] = Field(
        (),
        description="instead of base_url, rpm and tpm: several keys or endpoints for the one model, used together, "
        "each base_url=URL,api_key_env=NAME,rpm=N,tpm=N,max_in_flight=N (as YAML: a list of mappings)",
    )
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling mass")
    max_tokens: int = Field(512, ge=1, description="completion tokens a sample at most")
    timeout: float = Field(300.0, gt=0, description="seconds that one request may take")
    give_up_after: float = Field(
        600.0,
        gt=0,
        description="seconds without a single reply, under retries, before the run stops (exit 3)",
    )
    samples_per_request: int = Field(
        8,
        ge=1,
        le=128,
        description="samples of one prompt asked for in one request (the endpoint's n); 1 turns it off",
    )
    usd_per_million_prompt_tokens: float = Field(0.0, ge=0, description="price of a million prompt tokens")
    usd_per_million_completion_tokens: float = Field(
        0.0, ge=0, description="price of a million completion tokens"
    )
    batch: BatchOptions = BatchOptions()

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)

    @field_validator("endpoints", mode="before")
    @classmethod
    def _read_flags(cls, value: Any) -> Any:
        return read_endpoints(value)

    @model_validator(mode="after")
    def _one_way_to_say_where(self) -> "TeacherOptions":
        if not self.endpoints:
            return self
        both = [name for name in ("base_url", "rpm", "tpm") if getattr(self, name) is not None]
        if both:
            raise ValueError(f"takes either endpoints or {', '.join(both)}: name them in each endpoint")
        places = [(e.base_url.rstrip("/"), e.api_key_env or self.api_key_env) for e in self.endpoints]
        if twice := next((place for place in places if places.count(place) > 1), None):
            raise ValueError(f"endpoints name {twice[0]} with the key in {twice[1]} twice")
        return self

    @model_validator(mode="after")
    def _batches_have_one_place(self) -> "TeacherOptions":
        if self.interface == "batch" and self.base_url is None:
            raise ValueError("interface batch needs base_url, one address; endpoints are for interface chat")
        return self

    def usd(self, *, prompt_tokens: float, completion_tokens: float, in_batch: bool = False) -> float:
        """What that many tokens cost, in US dollars; `in_batch` at the batch interface's price."""
        usd = (
            prompt_tokens * self.usd_per_million_prompt_tokens
            + completion_tokens * self.usd_per_million_completion_tokens
        ) / 1e6
        return usd * (1.0 - self.batch.discount) if in_batch else usd

    @property
    def without_endpoint(self) -> "TeacherOptions":
        """The same teacher where only the ledger answers; its keys are the same."""
        return self.model_copy(update={"interface": "chat", "base_url": None, "endpoints": ()})

    @property
    def has_endpoint(self) -> bool:
        """False where only the ledger answers."""
        return self.base_url is not None or bool(self.endpoints)

    @property
    def total_in_flight(self) -> int:
        """Requests in flight at once, over all endpoints."""
        return sum(endpoint.max_in_flight for endpoint in resolve_endpoints(self))

    @property
    def total_rpm(self) -> int | None:
        """Requests a minute over all endpoints; None where one of them has no limit."""
        return _sum_limits([endpoint.rpm for endpoint in resolve_endpoints(self)])

    @property
    def total_tpm(self) -> int | None:
        """Tokens a minute over all endpoints; None where one of them has no limit."""
        return _sum_limits([endpoint.tpm for endpoint in resolve_endpoints(self)])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint as it is used; `name` is what a person reads, `base_url` None where only the ledger answers."""

    name: str
    base_url: str | None
    api_key_env: str
    rpm: int | None
    tpm: int | None
    max_in_flight: int


def resolve_endpoints(options: TeacherOptions) -> tuple[Endpoint, ...]:
    """The endpoints in their order, at least one: the single `base_url` is short for a list of one."""
    if not options.endpoints:
        name = options.base_url or "the ledger"
        return (
            Endpoint(
                name, options.base_url, options.api_key_env, options.rpm, options.tpm, options.max_in_flight
            ),
        )
    urls = [endpoint.base_url for endpoint in options.endpoints]
    found = []
    for endpoint in options.endpoints:
        key_env = endpoint.api_key_env or options.api_key_env
        name = endpoint.base_url if urls.count(endpoint.base_url) == 1 else f"{endpoint.base_url} ({key_env})"
        slots = endpoint.max_in_flight or options.max_in_flight
        found.append(Endpoint(name, endpoint.base_url, key_env, endpoint.rpm, endpoint.tpm, slots))
    return tuple(found)


ApiKey = SecretStr
"""The key travels as a secret that prints as asterisks, never as a plain string in a record."""

ApiKeys = dict[str, ApiKey]
"""Keys by the variable that holds them."""


def read_api_keys(options: TeacherOptions) -> ApiKeys:
    """The keys of all endpoints from this process's environment; `none` for a variable that is not set."""
    names = {endpoint.api_key_env for endpoint in resolve_endpoints(options)}
    return {name: ApiKey(os.environ.get(name) or "none") for name in sorted(names)}


def _sum_limits(limits: list[int | None]) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None
