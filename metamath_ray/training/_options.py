"""What a user says of a training run; one model for YAML, flags and defaults."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Method = Literal["full", "qlora"]
Precision = Literal["bf16", "fp32"]
Attention = Literal["auto", "documents", "sdpa", "eager", "flash_attention_2"]
Offload = Literal["none", "cpu", "nvme"]
DeviceKind = Literal["cpu", "gpu"]
Watcher = Literal["mlflow", "wandb"]


class LoraOptions(BaseModel):
    """The adapter of QLoRA; defaults are the paper's for 70B."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(96, ge=1, description="rank of the adapter's matrices")
    alpha: float = Field(16, gt=0, description="scale of the adapter: alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout before the adapter")


class CheckpointOptions(BaseModel):
    """How often the state is kept, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_steps: int = Field(50, ge=1, description="steps between two checkpoints")
    every_minutes: float | None = Field(
        None, gt=0, description="and after this many minutes without one, measured by rank 0"
    )
    keep: int = Field(2, ge=1, description="newest checkpoints kept")
    storage: str | None = Field(
        None, description="where checkpoints go: any path or URI of Ray's storage (default: in --output)"
    )


class DeviceOptions(BaseModel):
    """Everything that depends on the hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="where to train; auto takes GPUs if there are any"
    )
    cpus_per_worker: int | None = Field(
        None,
        ge=1,
        description="CPU cores and threads of a worker (default: on CPU all there are, shared out; on GPU up to 8)",
    )
    offload_optimizer: Offload = Field("none", description="keep optimizer state off the GPU (ZeRO 1 to 3)")
    offload_parameters: Offload = Field("none", description="keep parameters off the GPU (ZeRO 3)")
    nvme_path: Path | None = Field(None, description="folder on a local NVMe disk, for offload to nvme")
    optimizer: Literal["auto", "torch", "deepspeed"] = Field(
        "auto",
        description="whose AdamW: DeepSpeed's is compiled with nvcc; auto takes it on GPUs where that is there",
    )
    fused_loss: bool = Field(
        True, description="on GPU, use Liger's fused cross-entropy where it is installed"
    )
    compile: bool = Field(False, description="torch.compile the model: slow start, faster steps")
    timeout_minutes: float = Field(
        30, gt=0, description="a worker that waits longer for the others takes them for dead"
    )


class TrainOptions(BaseModel):
    """Everything that decides a training run, and how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str | None = Field(
        None,
        description="run directory of a build, the released MetaMathQA JSON, JSONL/Parquet of query and response, "
        "or problems with published solutions: gsm8k:PATH, math:PATH, bundled",
    )
    model: str = Field("", description="student to fine-tune: a Hugging Face folder, or a hub name")
    recipe: str = Field(
        "full",
        description="defaults by name (full, qlora, llama2-7b, ... or a YAML file); other options win over it",
    )
    output: Path = Field(Path("runs/train"), description="folder that the run writes, and goes on with")
    limit_rows: int | None = Field(None, ge=1, description="train on the first N rows of the data")

    method: Method = Field("full", description="full fine-tuning, or QLoRA on a 4-bit base")
    lora: LoraOptions = LoraOptions()

    max_length: int = Field(
        512, ge=16, description="tokens of a sequence; a longer row is dropped and counted"
    )
    packing: bool = Field(True, description="several rows a sequence, none sees another")
    compat: Literal["fixed", "paper"] = Field(
        "fixed", description="'paper' cuts long rows, splits a query at its first newline, and does not pack"
    )
    attention: Attention = Field(
        "auto", description="how packed rows attend: documents (ours, best on CPU), or transformers' own"
    )

    epochs: float = Field(3.0, gt=0, le=1000, description="passes over the data")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps, instead of epochs")
    global_batch_size: int = Field(128, ge=1, description="sequences of one optimizer step, over all workers")
    micro_batch_size: int = Field(4, ge=1, description="sequences of one forward pass of one worker")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="highest learning rate")
    warmup_ratio: float = Field(0.03, ge=0, le=1, description="share of the steps in which the rate rises")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="of AdamW")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="of AdamW")
    adam_epsilon: float = Field(1e-8, gt=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0 leaves them")
    precision: Precision = Field(
        "bf16",
        description="of weights and activations; the optimizer keeps fp32. bf16 with zero_stage 0 also adds up the "
        "gradients of micro-batches in bf16, with ZeRO 1 to 3 in fp32",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations instead of keeping them")
    loss_chunk_tokens: int = Field(
        1024, ge=1, description="tokens whose logits over the vocabulary are held at once"
    )

    num_workers: int = Field(1, ge=1, le=4096, description="training processes: one a GPU, or CPU processes")
    zero_stage: int = Field(2, ge=0, le=3, description="DeepSpeed ZeRO: what is sharded over the workers")
    max_failures: int = Field(
        3, ge=-1, description="worker or node deaths survived before the job fails; -1: any number"
    )
    device: DeviceOptions = DeviceOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    watchers: tuple[Watcher, ...] = Field((), description="beside TensorBoard: mlflow, wandb")
    log_every_steps: int = Field(1, ge=1, description="steps between two lines of the log")
    push_to_hub: str | None = Field(
        None,
        description="OWNER/NAME: upload the model and its card to the Hugging Face hub at the end (key in HF_TOKEN)",
    )
    plan: bool = Field(False, description="print memory, steps and time expected; train nothing")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random choice")

    @model_validator(mode="after")
    def _batch_divides(self) -> "TrainOptions":
        self.accumulation_steps  # noqa: B018  # raises
        return self

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches of one worker in one optimizer step. Raises `ValueError` where they don't come out even."""
        at_once = self.num_workers * self.micro_batch_size
        if self.global_batch_size % at_once:
            fits = max(self.global_batch_size // at_once, 1) * at_once
            raise ValueError(
                f"global_batch_size must be a multiple of num_workers x micro_batch_size = {self.num_workers} x "
                f"{self.micro_batch_size} = {at_once}, got {self.global_batch_size}; {fits} would do"
            )
        return self.global_batch_size // at_once

    def with_absolute_paths(self) -> "TrainOptions":
        """The same run seen from any working directory: Ray's workers have their own. `~` is expanded."""
        nvme, storage = self.device.nvme_path, self.checkpoint.storage
        device = {"nvme_path": nvme and _absolute(nvme)}
        checkpoint = {"storage": storage if storage is None or "://" in storage else str(_absolute(storage))}
        is_folder = bool(self.model) and Path(self.model).expanduser().exists()
        return self.model_copy(
            update={
                "data": self.data and _absolute_data(self.data),
                "model": str(_absolute(self.model)) if is_folder else self.model,
                "output": _absolute(self.output),
                "device": self.device.model_copy(update=device),
                "checkpoint": self.checkpoint.model_copy(update=checkpoint),
            }
        )

    def identity(self) -> dict[str, Any]:
        """What two runs of one output folder must share: all options but `RUN_ONLY` and the hardware's."""
        options = self.with_absolute_paths()
        return options.model_dump(mode="json", exclude={*RUN_ONLY, "device"}) | {
            "device": options.device.model_dump(mode="json", include={"fused_loss", "optimizer"})
        }

    def identity_digest(self) -> str:
        """SHA-256 of `identity` in hex, without the data's path: its content has a key of its own."""
        identity = self.identity() | {"data": None}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


RUN_ONLY = frozenset(
    {
        "output",
        "num_workers",
        "micro_batch_size",
        "max_failures",
        "checkpoint",
        "watchers",
        "log_every_steps",
        "plan",
        "push_to_hub",
        "recipe",
    }
)
"""Options that may change between two runs of one output folder.

`num_workers` may before the first checkpoint only. It and `micro_batch_size` (as the hardware) leave the mathematics
of a step as it is, not the order of its sums: losses agree closely, no longer to the last bit.
"""


def _absolute(path: Path | str) -> Path:
    return Path(path).expanduser().resolve()


def _absolute_data(data: str) -> str:
    """`data` is a path, the name of problems, or NAME:PATH; as the rows' reader, a path that exists comes first."""
    name, colon, path = data.partition(":")
    if Path(data).expanduser().exists():
        return str(_absolute(data))
    if colon and path:
        return f"{name}:{_absolute(path)}"
    return data if data in {"bundled", "gsm8k", "math"} else str(_absolute(data))
