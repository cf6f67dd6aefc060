"""Greedy completions by transformers in the calling process: for small students, where an engine starts slowly."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from metamath_ray.answers import SymbolicPool
from metamath_ray.evaluation import (
    Completion,
    EvaluationPlan,
    PredictionStore,
    Request,
    grade_predictions,
    predictions_path,
    write_predictions,
)

if TYPE_CHECKING:
    import torch

_LOOK_BACK = 24


def evaluate_here(plan: EvaluationPlan, *, batch_size: int, num_threads: int) -> None:
    """Ask for what is missing, grade all, and write the tables of predictions in the plan's output.

    In fp32 on CPU, `batch_size` prompts at a time. What is there already is not asked again.
    """
    student: Student | None = None
    for name, requests in plan.requests.items():
        with PredictionStore(plan.options.output, name, requests=requests) as store:
            if store.missing:
                student = student or Student(plan.model, num_threads)
                for batch in _batches(store.missing, batch_size):
                    store.add(student.complete(batch))
            with SymbolicPool(1) as pool:
                graded = grade_predictions(store.ungraded(), pool=pool)
            path = predictions_path(plan.options.output, name)
            write_predictions(path, graded, num_expected=len(requests))


class Student:
    """A model and its tokenizer, loaded once."""

    def __init__(self, model: str, num_threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(num_threads)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            model, padding_side="left", trust_remote_code=False
        )
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        self._model = loaded.eval()

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request; they have one limit of new tokens and the same stop texts."""
        import torch
        from transformers import StoppingCriteriaList

        started = time.monotonic()
        sampling = requests[0].sampling
        inputs = self._tokenizer([request.prompt for request in requests], padding=True, return_tensors="pt")
        start = inputs["input_ids"].shape[1]
        stopping = StoppingCriteriaList([_StopTexts(self._tokenizer, sampling.stop, start)])
        with torch.inference_mode():
            ids = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=sampling.max_new_tokens,
                do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id,
                stopping_criteria=stopping,
            )
        seconds = time.monotonic() - started
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            self._completion(request, new.tolist(), num_prompt, seconds)
            for request, new, num_prompt in zip(requests, ids[:, start:], lengths, strict=True)
        ]

    def _completion(self, request: Request, ids: list[int], num_prompt: int, seconds: float) -> Completion:
        eos = self._tokenizer.eos_token_id
        is_ended = eos in ids
        kept = ids[: ids.index(eos)] if is_ended else ids
        text, is_stopped = cut_at(
            self._tokenizer.decode(kept, skip_special_tokens=True), request.sampling.stop
        )
        return Completion(
            key=request.key,
            problem_id=request.problem.id,
            sample_index=request.sample_index,
            text=text,
            finish_reason="stop" if is_ended or is_stopped else "length",
            prompt_tokens=num_prompt,
            completion_tokens=len(kept) + is_ended,
            seconds=seconds,
        )


def cut_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of the stop texts in it, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


class _StopTexts:
    """For transformers: which sequences hold a stop text near their end."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], start: int) -> None:
        self._tokenizer, self._stops, self._start = tokenizer, stops, start

    def __call__(self, input_ids: "torch.Tensor", scores: Any, **kwargs: Any) -> "torch.Tensor":
        import torch

        ends = input_ids[:, max(self._start, input_ids.shape[1] - _LOOK_BACK) :]
        texts = self._tokenizer.batch_decode(ends, skip_special_tokens=True)
        return torch.tensor([cut_at(text, self._stops)[1] for text in texts], dtype=torch.bool)


def _batches(requests: Sequence[Request], batch_size: int) -> Iterator[list[Request]]:
    """Prompts of about one length together, longest first: little padding, and no surprise of memory at the end."""
    by_limit: dict[int, list[Request]] = {}
    for request in sorted(requests, key=lambda request: -len(request.prompt)):
        by_limit.setdefault(request.sampling.max_new_tokens, []).append(request)
    for group in by_limit.values():
        for place in range(0, len(group), batch_size):
            yield group[place : place + batch_size]
