"""What a user says of the teacher: where it is, what it is asked, what it may cost."""

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class TeacherOptions(BaseModel):
    """The teacher endpoint, its sampling and its limits.

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
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="environment variable that holds the API key (the key itself is never an option)",
    )
    rpm: int | None = Field(None, ge=1, description="requests a minute allowed for the whole cluster")
    tpm: int | None = Field(
        None, ge=1, description="prompt and completion tokens a minute for the whole cluster"
    )
    max_in_flight: int = Field(
        64,
        ge=1,
        le=100_000,
        description="requests in flight at once, whole cluster (one worker: 4096)",
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

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, value: str | None) -> str | None:
        if value is None:
            return value
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an http:// or https:// address")
        if url.username or url.password or url.query:
            raise ValueError(
                "must hold no user, password or query: a key goes into the variable of --teacher.api-key-env"
            )
        return value

    def usd(self, *, prompt_tokens: int, completion_tokens: int) -> float:
        """What that many tokens cost, in US dollars."""
        return (
            prompt_tokens * self.usd_per_million_prompt_tokens
            + completion_tokens * self.usd_per_million_completion_tokens
        ) / 1e6


ApiKey = SecretStr
"""The key travels as a secret that prints as asterisks, never as a plain string in a record."""
