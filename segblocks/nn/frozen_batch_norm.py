"""Batch normalisation whose statistics and affine parameters are constants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    """Normalise with stored statistics, which neither training nor an optimiser changes.

    All four vectors are buffers, so nothing of them is a parameter and ``train()`` has no effect.
    Takes over the activation that some timm layers keep inside their batch norm.

    Args:
        num_features: Number of channels.
        eps: Added to the variance.

    Example:
        >>> FrozenBatchNorm2d(3)(torch.zeros(1, 3, 2, 2)).shape
        torch.Size([1, 3, 2, 2])
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.after: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised (B, C, H, W)."""
        if torch.is_grad_enabled() and x.requires_grad:
            # The backward of a product with a constant need not keep x, that of batch_norm would.
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            shift = self.bias - self.running_mean * scale
            x = x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)
        else:
            x = F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return self.after(x)

    def extra_repr(self) -> str:
        """Show the size."""
        return f"{self.weight.numel()}, eps={self.eps}"


def freeze_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm inside ``module`` by a frozen one with the same values.

    Args:
        module: Changed in place; the names of its entries stay, less ``num_batches_tracked``.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.SyncBatchNorm):
            setattr(module, name, _frozen(child))
        else:
            freeze_batch_norm(child)


def _frozen(norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> FrozenBatchNorm2d:
    frozen = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    for name, _ in list(frozen.named_buffers()):
        value = getattr(norm, name)
        if value is None:
            raise ValueError(
                f"freeze_batch_norm: {type(norm).__name__} without {name} cannot be frozen"
            )
        frozen.register_buffer(name, value.detach().clone())
    parts = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
    if parts:
        frozen.after = nn.Sequential(*parts)
    return frozen
