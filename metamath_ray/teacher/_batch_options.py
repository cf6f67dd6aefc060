"""How the provider's batch interface is used."""

from pydantic import BaseModel, ConfigDict, Field


class BatchOptions(BaseModel):
    """The provider's batch interface, with teacher.interface batch: files of requests, answered within a day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_requests: int = Field(50_000, ge=1, description="requests in one file at most")
    max_megabytes: float = Field(200.0, gt=0, description="size of one file at most, in millions of bytes")
    poll_every: float = Field(60.0, gt=0, description="seconds between two looks at the batches")
    discount: float = Field(0.5, ge=0, le=1, description="part of the price that a batch saves")
