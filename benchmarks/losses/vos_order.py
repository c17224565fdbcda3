"""How far sampling and then taking the maximum over an object's queries is from the reverse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.losses import group_logits, object_mask_losses, with_background


def scene(agreement: float, *, objects: int = 3, queries: int = 4) -> tuple[Tensor, ...]:
    """Discs, features smooth as a network's, and queries that agree on their object or do not.

    Args:
        agreement: 1 for queries of an object that are the same, 0 for independent ones.
        objects: O.
        queries: of each object.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    h, w, channels = 96, 160, 64
    y, x = torch.meshgrid(torch.arange(4 * h), torch.arange(4 * w), indexing="ij")
    centres = [(0.3, 0.25), (0.6, 0.5), (0.4, 0.8)][:objects]
    masks = torch.stack(
        [
            ((y - a * 4 * h) ** 2 + (x - b * 4 * w) ** 2 < (0.2 * 4 * h) ** 2)[None]
            for a, b in centres
        ]
    )
    masks = with_background(masks)
    # Logits of about +-6 that turn over within a few pixels, and a smooth disturbance.
    clean = F.interpolate(masks.float().transpose(0, 1), size=(h, w), mode="area") * 12 - 6
    noise = F.interpolate(random(1, channels, h // 4, w // 4), size=(h, w), mode="bilinear")
    features = torch.cat((clean, noise), dim=1)
    own = torch.eye(objects + 1).repeat_interleave(queries, dim=0)
    common = random(objects + 1, channels).repeat_interleave(queries, dim=0)
    mixed = agreement**0.5 * common + (1 - agreement) ** 0.5 * random(len(own), channels)
    return torch.cat((own, mixed / channels**0.5 * 2), dim=1), features, masks


def main() -> None:
    """Print the differences for several degrees of agreement."""
    for agreement in (1.0, 0.9, 0.5, 0.0):
        embeddings, features, masks = scene(agreement)
        groups = [slice(4 * o, 4 * o + 4) for o in range(len(masks))]
        points = torch.rand(len(masks), 1, 12544, 2, generator=torch.Generator().manual_seed(1))
        logits, losses, grads = [], [], []
        for official in (False, True):
            e, f = embeddings.clone().requires_grad_(), features.clone().requires_grad_()
            logits.append(group_logits(e, f, groups, points, official_compat=official))
            loss = object_mask_losses(e, f, masks, groups, points=points, official_compat=official)
            total = (5 * loss.cross_entropy.sum() + 5 * loss.dice.sum()) / len(masks)
            losses.append(float(total.detach()))
            grads.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, (e, f))]))
        gap = logits[1] - logits[0]
        print(
            f"agreement {agreement:.1f}: logit mean {gap.mean():.4f}, 99 % "
            f"{gap.flatten().kthvalue(int(0.99 * gap.numel())).values:.4f}, largest "
            f"{gap.max():.3f}; loss {losses[0]:.5f} and {losses[1]:.5f} (official); gradient "
            f"{float((grads[0] - grads[1]).norm() / grads[1].norm()):.4f} relative"
        )


if __name__ == "__main__":
    main()
