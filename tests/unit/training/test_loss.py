"""The chunked loss against PyTorch's own cross-entropy."""

import sys
from types import ModuleType

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from metamath_ray.training._loss import _Head, linear_cross_entropy

HIDDEN, VOCABULARY, TARGETS = 16, 211, 37
Result = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight and targets."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TARGETS, HIDDEN, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(VOCABULARY, (TARGETS,), generator=generator)


def ours(*, chunk_tokens: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Result:
    """Loss and the gradients to hidden states and weight."""
    hidden, weight, targets = inputs(dtype)
    loss = linear_cross_entropy(hidden, weight, targets, chunk_tokens=chunk_tokens)
    return loss, *torch.autograd.grad(scale * loss, (hidden, weight))


def reference(dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Result:
    """The same in fp32 by PyTorch, from the same rounded inputs."""
    hidden, weight, targets = inputs(dtype)
    hidden, weight = (tensor.detach().float().requires_grad_() for tensor in (hidden, weight))
    loss = cross_entropy(hidden @ weight.T, targets, reduction="sum")
    return loss, *torch.autograd.grad(scale * loss, (hidden, weight))


class LargestMade(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("chunk_tokens", [1, 7, TARGETS - 1, TARGETS, 1000])
def test_any_chunk_size_gives_pytorchs_loss_and_gradients(chunk_tokens: int) -> None:
    for found, expected in zip(ours(chunk_tokens=chunk_tokens), reference(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_scaled_with_the_loss() -> None:
    found, expected = ours(chunk_tokens=8, scale=0.25), reference(scale=0.25)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk_tokens", [7, 1000])
def test_bf16_gives_an_fp32_loss_and_bf16_gradients_close_to_fp32s(chunk_tokens: int) -> None:
    found = ours(chunk_tokens=chunk_tokens, dtype=torch.bfloat16)
    assert [tensor.dtype for tensor in found] == [torch.float32, torch.bfloat16, torch.bfloat16]
    for one, expected in zip(found, reference(torch.bfloat16), strict=True):
        assert (one.float() - expected).norm() < 0.02 * expected.norm()


def test_without_targets_loss_and_gradients_are_zero_not_missing() -> None:
    hidden, weight, targets = inputs()
    loss = linear_cross_entropy(hidden[:0], weight, targets[:0], chunk_tokens=8)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(weight.grad, torch.zeros_like(weight))
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))


def test_a_frozen_weight_gets_no_gradient_and_changes_none() -> None:
    hidden, weight, targets = inputs()
    linear_cross_entropy(hidden, weight.requires_grad_(False), targets, chunk_tokens=8).backward()
    assert weight.grad is None
    torch.testing.assert_close(hidden.grad, reference()[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_logits_of_all_targets_are_never_held_at_once(dtype: torch.dtype) -> None:
    hidden, weight, targets = inputs(dtype)
    with LargestMade() as largest:
        linear_cross_entropy(hidden, weight, targets, chunk_tokens=8).backward()
    assert largest.elements == max(8 * VOCABULARY, VOCABULARY * HIDDEN)
    assert largest.elements < TARGETS * VOCABULARY


def test_the_fused_kernel_is_asked_for_fp32_sums_and_never_called_without_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stand-in for Liger, which runs on GPUs alone."""
    calls = []

    def stand_in(input, weight, target, **kwargs):  # type: ignore[no-untyped-def]  # Liger's name
        calls.append(kwargs)
        assert len(target), "Liger divides by the number of targets"
        return cross_entropy(input @ weight.T, target, reduction=kwargs["reduction"])

    functional = ModuleType("liger_kernel.transformers.functional")
    functional.liger_fused_linear_cross_entropy = stand_in
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, functional.__name__, functional)
    hidden, weight, targets = inputs()
    head = _Head(torch.nn.Parameter(weight.detach()), chunk_tokens=8, fused=True)
    torch.testing.assert_close(head(hidden, targets), reference()[0], rtol=1e-5, atol=1e-5)
    assert calls == [{"ignore_index": -100, "reduction": "sum", "accum_dtype": torch.float32}]
    empty = head(hidden[:0], targets[:0])
    empty.backward()
    assert empty.item() == 0
    assert torch.equal(head.weight.grad, torch.zeros_like(weight))
    assert len(calls) == 1
