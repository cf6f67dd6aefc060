"""Where a teacher is reached: one endpoint or several, each with its own key and limits."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_FORM = "base_url=URL,api_key_env=NAME,rpm=N,tpm=N,max_in_flight=N (all but base_url may be left out)"

KEY_VARIABLE = r"^[A-Z_][A-Z0-9_]*$"
MAX_IN_FLIGHT = 100_000


class EndpointOptions(BaseModel):
    """One endpoint of several that serve the same model; what is left out is taken from `teacher`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="OpenAI-compatible endpoint")
    api_key_env: str | None = Field(
        None, pattern=KEY_VARIABLE, description="variable that holds its key (default: teacher.api_key_env)"
    )
    rpm: int | None = Field(None, ge=1, description="requests a minute allowed here, for the whole cluster")
    tpm: int | None = Field(None, ge=1, description="prompt and completion tokens a minute allowed here")
    max_in_flight: int | None = Field(
        None,
        ge=1,
        le=MAX_IN_FLIGHT,
        description="requests in flight here at once (default: teacher.max_in_flight)",
    )

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        return check_url(value)


def read_endpoints(value: Any) -> Any:
    """Endpoints as mappings, those in the flag's form `base_url=…,rpm=…` included.

    Raises ValueError for a word without `=`; it is not shown: it may be a key.
    """
    listed = [value] if isinstance(value, str | dict) else value
    if not isinstance(listed, list | tuple):
        raise ValueError(f"must be a list of endpoints, each {_FORM}")
    return tuple(_read_flag(item) if isinstance(item, str) else item for item in listed)


def _read_flag(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"must each be {_FORM}")
        values[name.strip().replace("-", "_")] = value.strip()
    return values


def check_url(value: str) -> str:
    """`value`, if it is an address without a secret in it; ValueError otherwise."""
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must be an http:// or https:// address")
    if url.username or url.password or url.query:
        raise ValueError(
            "must hold no user, password or query: a key goes into the variable of --teacher.api-key-env"
        )
    return value
