"""The training loop of one worker."""

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from transformers.utils.logging import disable_progress_bar

from metamath_ray.step_metrics import StepMetrics, load_metrics
from metamath_ray.training._attention import NEEDS_FLAT
from metamath_ray.training._batches import Batch, collate, collate_flat
from metamath_ray.training._checkpoint import Cursor, restore_checkpoint, save_checkpoint
from metamath_ray.training._claim import claim_rank
from metamath_ray.training._deepspeed import (
    backward_and_step,
    deepspeed_config,
    open_engine,
    set_learning_rate,
)
from metamath_ray.training._device import Device, open_device, seed_everything
from metamath_ray.training._errors import CannotGoOnError, CannotResumeError
from metamath_ray.training._loss import ResponseLoss
from metamath_ray.training._metrics import MetricsLog
from metamath_ray.training._model import load_student, load_tokenizer
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import Pack, PackedData
from metamath_ray.training._schedule import PADDING, StepPlan, learning_rate, share_of_worker
from metamath_ray.training._session import Session
from metamath_ray.training._storage import open_staging
from metamath_ray.training._utilisation import Utilisation
from metamath_ray.training._watch import Watchers

Export = Callable[[dict[str, torch.Tensor]], None]
_NOTHING = np.empty(0, np.int32)
EMPTY_PACK = Pack(input_ids=_NOTHING, lengths=_NOTHING, prompt_lengths=_NOTHING, row_ids=())


@dataclass(frozen=True)
class Worker:
    """What one worker trains with."""

    session: Session
    options: TrainOptions
    device: Device
    data: PackedData
    plan: StepPlan
    engine: Any
    pad_token_id: int
    utilisation: Utilisation | None
    is_flat: bool
    """The attention wants a micro-batch as one sequence without padding."""
    staging: Path

    def cursor(self, step: int) -> Cursor:
        """This run's cursor after so many steps."""
        return Cursor(
            step=step,
            num_workers=self.session.num_workers,
            data_key=self.data.key,
            identity=self.options.identity_digest(),
        )


def train_loop(session: Session, options: TrainOptions, output: Path, export: Export) -> None:
    """Train to the last step, from the newest checkpoint if there is one; then `export` the weights on worker 0.

    torch.distributed may be initialised already. `output/data` holds the packed rows; worker 0 writes
    `output/metrics.jsonl` and what the watchers write. Raises `CannotResumeError` on all workers alike where the
    checkpoint doesn't fit, `CannotGoOnError` on all where the loss is no number any more, `TrainingFailedError` on
    one whose predecessor in an earlier start does not end.
    """
    with claim_rank(output, session.rank):
        _train(session, options, output, export)


def _train(session: Session, options: TrainOptions, output: Path, export: Export) -> None:
    worker = open_worker(session, options, output)
    step = restore_checkpoint(worker.engine, session, worker.cursor(0))
    if step == 0:
        _refuse_lost_checkpoints(options, output)
    if session.rank == 0:
        with MetricsLog(output / "metrics.jsonl") as log, Watchers(options, output, step) as watchers:
            log.cut_after(step)
            attempt = log.last_attempt + 1

            def record(metrics: StepMetrics) -> None:
                log.append(metrics)
                watchers.write(metrics)

            run_steps(worker, step, attempt, record)
    else:
        run_steps(worker, step, 0, lambda metrics: None)
    weights = gather_weights(worker)
    if session.rank == 0:
        export(weights)


def open_worker(session: Session, options: TrainOptions, output: Path) -> Worker:
    """Load data and model, and set up DeepSpeed, on this worker."""
    threads = options.device.cpus_per_worker or max((os.cpu_count() or 1) // session.num_workers, 1)
    device = open_device(options.device, local_rank=session.local_rank, num_threads=threads)
    _init_distributed(session, device, timeout=timedelta(minutes=options.device.timeout_minutes))
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of the loading of weights
    seed_everything(options.seed)  # the same on all workers: so are new weights (LoRA's)
    data = PackedData.open(output / "data")
    tokenizer = load_tokenizer(options.model)
    student: Any = load_student(
        options, device=device.kind, deepspeed_config=deepspeed_config(options, device)
    )
    loss = ResponseLoss(
        student, chunk_tokens=options.loss_chunk_tokens, fused=_wants_fused_loss(options, device)
    )
    engine = open_engine(loss, options, device)
    seed_everything(options.seed + 1 + session.rank)  # dropout differs between workers
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return Worker(
        session=session,
        options=options,
        device=device,
        data=data,
        plan=StepPlan.make(len(data), options),
        engine=engine,
        pad_token_id=int(pad),
        utilisation=Utilisation.make(options, data, device.name()),
        is_flat=student.config._attn_implementation in NEEDS_FLAT,
        staging=open_staging(output, session.rank),
    )


def run_steps(worker: Worker, start: int, attempt: int, record: Callable[[StepMetrics], None]) -> None:
    """Train steps `start`, `start` + 1, … and keep checkpoints; after the last step always.

    Raises `CannotGoOnError` after a step whose loss or gradients are not finite; it is recorded, not kept.
    """
    last_kept = time.monotonic()
    for step in range(start, worker.plan.num_steps):
        metrics = train_step(worker, step, attempt)
        record(metrics)
        _check_finite(metrics)
        done = step + 1
        if done == worker.plan.num_steps or _checkpoint_due(worker, done, last_kept):
            figures = {"step": done, "loss": metrics.loss}
            save_checkpoint(
                worker.engine, worker.session, worker.cursor(done), figures, staging=worker.staging
            )
            last_kept = time.monotonic()


def train_step(worker: Worker, step: int, attempt: int = 0) -> StepMetrics:
    """One optimizer step over the global batch; all workers call it, and get the same figures."""
    started = time.perf_counter()
    indices = worker.plan.packs_of_step(step)
    targets = int(worker.data.response_tokens[indices[indices != PADDING]].sum())
    assert targets > 0, f"step {step} has no response token"
    rate = learning_rate(step, worker.plan.num_steps, worker.options)
    set_learning_rate(worker.engine, rate)
    tokens = np.zeros(2, dtype=np.int64)  # real and padded
    loss_sum = torch.zeros((), dtype=torch.float64, device=worker.device.torch_device)
    share = share_of_worker(
        indices,
        rank=worker.session.rank,
        num_workers=worker.session.num_workers,
        micro_batch_size=worker.options.micro_batch_size,
    )
    for micro_batch in share:
        batch, num_tokens = _load_batch(worker, micro_batch)
        loss = worker.engine(batch.input_ids, batch.position_ids, batch.targets)
        norm = backward_and_step(worker.engine, loss * (worker.session.num_workers / targets))
        loss_sum += loss.detach()
        tokens += num_tokens, batch.input_ids.numel()
    totals = _over_workers(worker, [float(loss_sum), *tokens.tolist(), worker.device.peak_memory_bytes()])
    seconds = time.perf_counter() - started
    real = int(totals[:, 1].sum())
    mfu = None
    if worker.utilisation is not None:
        mfu = worker.utilisation.share(tokens=real, response_tokens=targets, seconds=seconds)
    return StepMetrics(
        step=step + 1,
        epoch=worker.plan.epochs_after(step + 1),
        loss=float(totals[:, 0].sum()) / targets,
        learning_rate=rate,
        grad_norm=math.nan if norm is None else norm,
        tokens=real,
        response_tokens=targets,
        padded_tokens=int(totals[:, 2].sum()),
        seconds=seconds,
        tokens_per_s=real / seconds,
        response_tokens_per_s=targets / seconds,
        mfu=mfu,
        peak_memory_bytes=int(totals[:, 3].max()),
        time=time.time(),
        attempt=attempt,
        rows_digest=_digest_rows(worker, indices),
    )


def gather_weights(worker: Worker) -> dict[str, torch.Tensor]:
    """The trained weights by their names in the student, on worker 0's CPU; empty on the others. All call it.

    Full fine-tuning gives all weights, QLoRA the adapter's. Under ZeRO 3 one tensor is whole at a time.
    """
    import deepspeed

    weights: dict[str, torch.Tensor] = {}
    wants_all = worker.options.method == "full"
    for name, parameter in worker.engine.module.model.named_parameters():
        if not (wants_all or parameter.requires_grad):
            continue
        with deepspeed.zero.GatheredParameters([parameter], enabled=worker.options.zero_stage == 3):
            if worker.session.rank == 0:
                weights[name] = parameter.detach().to("cpu", copy=True)
    return weights


def _refuse_lost_checkpoints(options: TrainOptions, output: Path) -> None:
    """A step after the first checkpoint's is only taken once that is kept: it is there, but not where we look."""
    steps = load_metrics(output / "metrics.jsonl")
    if steps and steps[-1].step > options.checkpoint.every_steps:
        place = options.checkpoint.storage or output / "checkpoints"
        raise CannotResumeError(
            f"{output} has done {steps[-1].step} steps, but there is no checkpoint of it in {place}; give the "
            "--checkpoint.storage that it was started with, or name another --output"
        )


def _init_distributed(session: Session, device: Device, *, timeout: timedelta) -> None:
    """Join the other workers; a group that Ray Train has made is kept, with its own timeout."""
    import deepspeed

    deepspeed.init_distributed(
        dist_backend=device.backend,
        timeout=timeout,
        auto_mpi_discovery=False,
        rank=session.rank,
        world_size=session.num_workers,
    )


def _check_finite(metrics: StepMetrics) -> None:
    if math.isfinite(metrics.loss) and math.isfinite(metrics.grad_norm):
        return
    raise CannotGoOnError(
        f"step {metrics.step} has loss {metrics.loss} and gradient norm {metrics.grad_norm}: training diverged; "
        "lower --learning-rate, or look at the rows of that step, and name another --output"
    )


def _wants_fused_loss(options: TrainOptions, device: Device) -> bool:
    from importlib.util import find_spec

    return device.kind == "gpu" and options.device.fused_loss and find_spec("liger_kernel") is not None


def _load_batch(worker: Worker, indices: np.ndarray) -> tuple[Batch, int]:
    packs = [worker.data[int(index)] if index != PADDING else EMPTY_PACK for index in indices]
    num_tokens = sum(len(pack.input_ids) for pack in packs)
    device = worker.device.torch_device
    if worker.is_flat:
        if num_tokens:
            return collate_flat(packs, device=device), num_tokens
        packs = [EMPTY_PACK]  # one position of padding: every worker takes part in every pass
    return collate(packs, pad_token_id=worker.pad_token_id, device=device), num_tokens


def _digest_rows(worker: Worker, indices: np.ndarray) -> str:
    ids = (row_id for index in indices if index != PADDING for row_id in worker.data[int(index)].row_ids)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def _over_workers(worker: Worker, values: list[float]) -> torch.Tensor:
    """Every worker's values, float64 (workers, values)."""
    mine = torch.tensor(values, dtype=torch.float64, device=worker.device.torch_device)
    all_values = [torch.empty_like(mine) for _ in range(worker.session.num_workers)]
    distributed.all_gather(all_values, mine)
    return torch.stack(all_values).cpu()


def _checkpoint_due(worker: Worker, done: int, last_kept: float) -> bool:
    options = worker.options.checkpoint
    if done % options.every_steps == 0:
        return True
    if options.every_minutes is None:
        return False
    due = time.monotonic() - last_kept >= options.every_minutes * 60
    return bool(_over_workers(worker, [float(due)])[0, 0])  # worker 0's clock decides for all
