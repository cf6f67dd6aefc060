"""The loss of response tokens, without ever holding the logits of a whole batch over the vocabulary."""

from typing import Any

import torch
from torch import nn

from metamath_ray.training._batches import IGNORED


class ResponseLoss(nn.Module):
    """A causal LM that gives the summed cross-entropy of its targets, in fp32.

    The final projection runs on the positions with a target alone, in chunks of `chunk_tokens`. `fused` takes
    Liger's kernel instead (GPU).
    """

    def __init__(self, model: Any, *, chunk_tokens: int, fused: bool = False) -> None:
        super().__init__()
        self.model = model
        self.head = _Head(model.get_output_embeddings().weight, chunk_tokens=chunk_tokens, fused=fused)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """The sum over the targets of a batch; all three are int64 of shape (sequences, tokens)."""
        decoder = self.model.get_decoder()
        hidden = decoder(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
        has_target = targets != IGNORED
        loss: torch.Tensor = self.head(hidden[has_target], targets[has_target])
        return loss


class _Head(nn.Module):
    """The output projection and its loss; the weight is the model's own, so ZeRO-3 gathers it for this call."""

    def __init__(self, weight: nn.Parameter, *, chunk_tokens: int, fused: bool) -> None:
        super().__init__()
        self.weight = weight
        self.chunk_tokens = chunk_tokens
        self.fused = fused

    def forward(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.fused and len(targets):  # Liger divides by the number of targets
            return _liger_cross_entropy(hidden, self.weight, targets)
        return linear_cross_entropy(hidden, self.weight, targets, chunk_tokens=self.chunk_tokens)


def _liger_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Liger's kernel, adding up the weight's gradient in fp32 over its chunks."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    loss: torch.Tensor = liger_fused_linear_cross_entropy(
        input=hidden,
        weight=weight,
        target=targets,
        ignore_index=IGNORED,
        reduction="sum",
        accum_dtype=torch.float32,
    )
    return loss.float()


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, *, chunk_tokens: int
) -> torch.Tensor:
    """`cross_entropy(hidden @ weight.T, targets, reduction="sum")` in fp32, `chunk_tokens` rows at once.

    `hidden` (n, d) and `weight` (vocabulary, d) share a dtype, `targets` is int64 (n,), without ignored rows.
    Gradients are worked out in the forward pass, so no logits are kept or computed twice. PyTorch 2.13's own
    chunked `F.linear_cross_entropy` was 5 times slower on CPU and gives its sum in bf16.
    """
    loss: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, chunk_tokens)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk_tokens: int
    ) -> torch.Tensor:
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wants_hidden, wants_weight = hidden.requires_grad, weight.requires_grad
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for start in range(0, len(targets), chunk_tokens):
            rows = hidden[start : start + chunk_tokens]
            chunk_loss, grad_logits = _softmax_loss(rows @ weight.T, targets[start : start + chunk_tokens])
            loss += chunk_loss
            if grad_hidden is not None:
                grad_hidden[start : start + chunk_tokens] = grad_logits @ weight
            if grad_weight is not None:
                grad_weight += grad_logits.T @ rows
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grads = (None if grad is None else grad * grad_loss.to(grad.dtype) for grad in ctx.saved_tensors)
        return (*grads, None, None)


def _softmax_loss(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss, and its gradient to the logits in their dtype."""
    scores = logits.float()
    scores -= scores.amax(dim=-1, keepdim=True)
    at_target = scores.gather(-1, targets[:, None])
    scores.exp_()
    total = scores.sum(dim=-1, keepdim=True)
    loss = (total.log() - at_target).sum()
    scores /= total
    scores.scatter_add_(-1, targets[:, None], -torch.ones_like(at_target))
    return loss, scores.to(logits.dtype)
