"""Contrastive losses between embeddings of the same and of other objects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    anchors: Tensor,
    keys: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None = None,
    temperature: float = 0.07,
    normalize: bool = True,
) -> Tensor:
    """Tell each positive of an anchor from all its negatives (InfoNCE over sets of positives).

    ``-log(exp(s+) / (exp(s+) + sum exp(s-)))``, mean over the positives of an anchor, then over the
    anchors that have one. Positives do not compete with each other.

    Args:
        anchors: (A, C).
        keys: (K, C).
        positives: (A, K) bool.
        negatives: (A, K) bool; by default all that are not positive. Keys in neither set are
            passed over.
        temperature: of the similarities; the default is MoCo's.
        normalize: cosine instead of inner product.

    Returns:
        A scalar, float32 at least; 0 where no anchor has a positive.

    Raises:
        ValueError: shapes or types that do not fit.

    Example:
        >>> x = torch.eye(2)
        >>> round(float(info_nce(x, x, torch.eye(2).bool(), temperature=1.0)), 4)
        0.3133
    """
    if normalize:
        anchors, keys = F.normalize(_full(anchors), dim=-1), F.normalize(_full(keys), dim=-1)
    similarity = _similarity(anchors, keys) / temperature
    positives, negatives = _sets("info_nce", similarity, positives, negatives)
    against = similarity.masked_fill(~negatives, -torch.inf)
    against = _logsumexp(against)[:, None]
    each = F.softplus((against - similarity).where(positives, 0))
    count = positives.sum(1)
    of_anchor = each.where(positives, 0).sum(1) / count.clamp(min=1)
    return of_anchor.sum() / (count > 0).sum().clamp(min=1)


def pair_contrast(
    similarity: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None = None,
    mean_pairs: bool = False,
    max_exponent: float | None = None,
) -> Tensor:
    """Compare each positive with each negative: ``log(1 + sum sum exp(s- - s+))``.

    The form of QDTrack, IDOL, CTVIS and UniVS; mean over the anchors that have a positive and a
    negative.

    Args:
        similarity: (A, K), as a rule inner products; UniVS divides them by sqrt(C).
        positives: (A, K) bool.
        negatives: (A, K) bool; by default all that are not positive.
        mean_pairs: mean of the exponentials instead of their sum, so that the loss does not grow
            with the sets.
        max_exponent: limit of each exponent, 10 in UniVS; None is none. With a limit the (A, K, K)
            pairs are made.

    Returns:
        A scalar, float32 at least; 0 where no anchor has both.

    Raises:
        ValueError: shapes or types that do not fit.

    Example:
        >>> loss = pair_contrast(torch.zeros(1, 3), torch.tensor([[True, False, False]]))
        >>> round(float(loss.exp()), 4)
        3.0
    """
    similarity = _full(similarity)
    positives, negatives = _sets("pair_contrast", similarity, positives, negatives)
    counts = positives.sum(1) * negatives.sum(1)
    if max_exponent is None:
        total = _logsumexp(similarity.masked_fill(~negatives, -torch.inf))
        total = total + _logsumexp((-similarity).masked_fill(~positives, -torch.inf))
    else:
        exponents = (similarity[:, None, :] - similarity[:, :, None]).clamp(max=max_exponent)
        pairs = positives[:, :, None] & negatives[:, None, :]
        total = _logsumexp(exponents.masked_fill(~pairs, -torch.inf).flatten(1))
    if mean_pairs:
        total = total - counts.clamp(min=1).to(total.dtype).log()
    each = F.softplus(total.where(counts > 0, 0)).where(counts > 0, 0)
    return each.sum() / (counts > 0).sum().clamp(min=1)


def cosine_auxiliary(
    anchors: Tensor, keys: Tensor, positives: Tensor, *, negatives: Tensor | None = None
) -> Tensor:
    """Draw cosines to 1 for positives and to 0 for negatives (IDOL, CTVIS).

    Args:
        anchors: (A, C).
        keys: (K, C).
        positives: (A, K) bool.
        negatives: (A, K) bool; by default all that are not positive.

    Returns:
        The mean square of the difference over both sets, a scalar; 0 where they are empty.

    Raises:
        ValueError: shapes or types that do not fit.

    Example:
        >>> x = torch.eye(2)
        >>> float(cosine_auxiliary(x, x, torch.eye(2).bool()))
        0.0
    """
    cosine = _similarity(F.normalize(_full(anchors), dim=-1), F.normalize(_full(keys), dim=-1))
    positives, negatives = _sets("cosine_auxiliary", cosine, positives, negatives)
    chosen = positives | negatives
    square = (cosine - positives.to(cosine.dtype)).square()
    return square.where(chosen, 0).sum() / chosen.sum().clamp(min=1)


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _similarity(anchors: Tensor, keys: Tensor) -> Tensor:
    with torch.autocast(anchors.device.type, enabled=False):
        return _full(anchors) @ _full(keys).T


def _logsumexp(values: Tensor) -> Tensor:
    """Sum over the last dimension; -inf, with no gradient, where nothing is left."""
    empty = (values == -torch.inf).all(dim=-1)
    total = values.masked_fill(empty[..., None], 0).logsumexp(dim=-1) if values.shape[-1] else None
    if total is None:
        return values.new_full(values.shape[:-1], -torch.inf)
    return total.masked_fill(empty, -torch.inf)


def _sets(
    where: str, similarity: Tensor, positives: Tensor, negatives: Tensor | None
) -> tuple[Tensor, Tensor]:
    given = {"positives": positives} | ({} if negatives is None else {"negatives": negatives})
    for name, mask in given.items():
        if mask.dtype != torch.bool or mask.shape != similarity.shape:
            raise ValueError(
                f"{where}: {name} must be bool {tuple(similarity.shape)}, "
                f"got {tuple(mask.shape)} {mask.dtype}"
            )
    return positives, ~positives if negatives is None else negatives
