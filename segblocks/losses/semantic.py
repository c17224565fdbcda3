"""Cross-entropy over classes at points of semantic maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segblocks.losses.group_logits import group_logits
from segblocks.losses.loss_sum import LossSum
from segblocks.matching.point_logits import embeddings_of_frames, point_logits
from segblocks.matching.points import IMPORTANCE, NUM_POINTS, OVERSAMPLE, importance_points
from segblocks.matching.sampling import points_of_frames, sample_labels, sample_maps
from segblocks.matching.tiles import runs

LabelSampling = Literal["nearest", "bilinear"]
IGNORE = -1
_NAME = "SemanticPointLoss"
# The official codes' logit of a class left out, and score of a candidate left out.
_LEFT_OUT = -1000.0


class SemanticLosses(NamedTuple):
    """Cross-entropy over the points that have a label, and the logits' norm over all points."""

    cross_entropy: LossSum
    regularization: LossSum


@dataclass(frozen=True)
class SemanticPointLoss:
    """Multi-class cross-entropy at points where the two best classes are close (TarViS).

    A few predictions are worked on at a time, or a few frames of one whose logits are many. Those
    of frames are made again for the gradient, so that the logits of a clip are never held.

    Args:
        num_points: P, of each frame; 12544 in TarViS' VIS, 25088 (pretraining) and 50176
            (finetuning) in its VPS.
        oversample: candidates a point; PointRend's default.
        importance: share of points chosen by uncertainty; Mask2Former's default.
        ignore_index: label of pixels that do not count; this library's.
        label_sampling: "nearest" takes the label of the pixel that a point falls in. "bilinear"
            is what the official TarViS code does for VIS: it interpolates the class numbers (0
            for the background) and cuts off the fraction, which makes up classes at borders.
        ignore_null_classes: leave out the classes that no point of the clip has as label or as
            prediction. Their logit becomes -1000.
        official_compat: the maximum over the background's queries is taken over whole maps and
            then sampled; see :func:`segblocks.losses.group_logits.group_logits`.

    Raises:
        ValueError: another ``label_sampling``.

    Example:
        >>> loss = SemanticPointLoss(num_points=16)
        >>> labels = torch.zeros(3, 16, 16, dtype=torch.int64)
        >>> losses = loss(torch.zeros(5, 8), torch.zeros(3, 8, 4, 4), labels)
        >>> round(float(losses.cross_entropy.mean), 4)
        1.6094
    """

    num_points: int = NUM_POINTS
    oversample: float = OVERSAMPLE
    importance: float = IMPORTANCE
    ignore_index: int = field(default=IGNORE, kw_only=True)
    label_sampling: LabelSampling = field(default="nearest", kw_only=True)
    ignore_null_classes: bool = field(default=False, kw_only=True)
    official_compat: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.label_sampling not in ("nearest", "bilinear"):
            raise ValueError(
                f"{_NAME}: label_sampling must be 'nearest' or 'bilinear', "
                f"got {self.label_sampling!r}"
            )

    def __call__(
        self,
        embeddings: Tensor,
        features: Tensor,
        labels: Tensor,
        *,
        background: Tensor | None = None,
        points: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> SemanticLosses:
        """Compute the losses of one video.

        Args:
            embeddings: (K, C) or (K, T, C), one a class; (L, K, T, C) are L predictions, each with
                points of its own and a loss of its own.
            features: (T, C, h, w).
            labels: (T, H, W), integers: the class, K where there is the background (only with
                ``background``), or ``ignore_index``.
            background: (B, C) or (B, T, C), queries whose greatest logit stands for class K;
                (L, B, T, C) of L predictions.
            points: (P, 2) or (T, P, 2) to be used instead of drawn ones.
            generator: draws the points.

        Returns:
            Sum of the cross-entropy over the points with a label, their number, sum of the L2
            norm of the logits over all points, and their number. ``.mean`` is the loss; TarViS
            weights the norm with 1e-3 where it uses it. Scalars, or (L,).

        Raises:
            ValueError: shapes that do not fit, or labels that are not integers.
        """
        self._check(labels, features)
        classes = _predictions(embeddings, features)
        num_classes = classes.shape[1]
        if background is not None:
            classes = torch.cat((classes, _predictions(background, features)), dim=1)
        of_clip = _Clip(features, labels, num_classes, background is not None)
        if points is not None:
            points = points_of_frames(_NAME, points, len(features))
            points = points.expand(len(classes), *points.shape)
        found = []
        for part in runs(len(classes), self._size(classes[:1], features), features.device):
            at = self._draw(classes[part], of_clip, generator) if points is None else points[part]
            found.append(self._sums(classes[part], of_clip, at))
        sums = [torch.cat(values) for values in zip(*found, strict=True)]
        if embeddings.dim() < 4:
            sums = [values[0] for values in sums]
        entropy, counted, norm, num_points = sums
        return SemanticLosses(LossSum(entropy, counted), LossSum(norm, num_points))

    def _check(self, labels: Tensor, features: Tensor) -> None:
        if labels.dim() != 3 or len(labels) != len(features) or labels.is_floating_point():
            raise ValueError(
                f"{_NAME}: labels must be integers ({len(features)}, H, W), "
                f"got {tuple(labels.shape)} {labels.dtype}"
            )

    def _size(self, embeddings: Tensor, features: Tensor) -> int:
        """Elements that the logits of some queries (L, Q, t, C) take, on maps or at candidates."""
        candidates = int(self.num_points * max(self.oversample, 1))
        pixels = features.shape[-2] * features.shape[-1]
        return embeddings.shape[:3].numel() * max(pixels, candidates)

    def _frames(self, embeddings: Tensor, of_clip: _Clip) -> list[slice]:
        """Cut the clip where the logits of all its frames are many."""
        size = self._size(embeddings[:, :, :1], of_clip.features)
        return list(runs(len(of_clip.features), size, of_clip.features.device))

    def _logits(
        self, embeddings: Tensor, features: Tensor, points: Tensor, num_classes: int
    ) -> Tensor:
        """Logits of (L, Q, t, C) at (L, t, P, 2), the background's greatest last: (L, K, t, P)."""
        if embeddings.shape[1] == num_classes:
            return point_logits(embeddings, features, points)
        if self.official_compat:
            groups = [slice(k, k + 1) for k in range(num_classes)]
            groups.append(slice(num_classes, embeddings.shape[1]))
            pairs = zip(embeddings, points, strict=True)
            return torch.stack(
                [group_logits(e, features, groups, at, official_compat=True) for e, at in pairs]
            )
        logits = point_logits(embeddings, features, points)
        greatest = logits[:, num_classes:].amax(1, keepdim=True)
        return torch.cat((logits[:, :num_classes], greatest), dim=1)

    def _draw(
        self, embeddings: Tensor, of_clip: _Clip, generator: torch.Generator | None
    ) -> Tensor:
        """Draw points for each prediction and frame, (L, T, P, 2)."""
        features, labels = of_clip.features, of_clip.labels

        @torch.no_grad()
        def score(at: Tensor) -> Tensor:
            scores = []
            for frames in self._frames(embeddings, of_clip):
                logits = self._logits(
                    embeddings[:, :, frames], features[frames], at[:, frames], of_clip.num_classes
                )
                ignored = _labels_at(labels[frames], at[:, frames]) == self.ignore_index
                scores.append(_second_less_best(logits).masked_fill(ignored, _LEFT_OUT))
            return torch.cat(scores, dim=1)

        return importance_points(
            score,
            (len(embeddings), len(features)),
            self.num_points,
            oversample=self.oversample,
            importance=self.importance,
            generator=generator,
            device=features.device,
            one_by_one=True,
        )

    def _targets(self, of_clip: _Clip, points: Tensor) -> Tensor:
        """The classes at (L, T, P, 2)."""
        labels = of_clip.labels
        nearest = _labels_at(labels, points).long()
        if self.label_sampling == "nearest":
            return nearest
        # The official numbers: 0 is the background where there is one.
        shift = int(of_clip.has_background)
        num_classes = of_clip.num_classes + shift
        numbers = ((labels.long() + shift) % num_classes)[None]
        same = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        targets = (sample_maps(numbers, points, same).long() - shift) % num_classes
        return targets.where(nearest != self.ignore_index, self.ignore_index)

    @torch.no_grad()
    def _left_out(
        self, embeddings: Tensor, of_clip: _Clip, points: Tensor, targets: Tensor
    ) -> Tensor | None:
        """Classes (L, K) that no point has, neither as label nor as prediction."""
        if not self.ignore_null_classes:
            return None
        num_classes = of_clip.num_classes + int(of_clip.has_background)
        # What is ignored has the row after the last.
        seen = embeddings.new_zeros(len(embeddings), num_classes + 1, dtype=torch.bool)
        labelled = targets.where(targets != self.ignore_index, num_classes)
        seen.scatter_(1, labelled.flatten(1), True)
        for frames in self._frames(embeddings, of_clip):
            logits = self._logits(
                embeddings[:, :, frames],
                of_clip.features[frames],
                points[:, frames],
                of_clip.num_classes,
            )
            seen.scatter_(1, logits.argmax(dim=1).flatten(1), True)
        return ~seen[:, :-1]

    def _sums(
        self, embeddings: Tensor, of_clip: _Clip, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums and weights of cross-entropy and norm, each (L,)."""
        targets = self._targets(of_clip, points)
        left_out = self._left_out(embeddings, of_clip, points, targets)

        def of_frames(
            embeddings: Tensor, features: Tensor, at: Tensor, truth: Tensor
        ) -> tuple[Tensor, Tensor]:
            logits = self._logits(embeddings, features, at, of_clip.num_classes)
            norm = torch.linalg.vector_norm(logits, dim=1).sum((1, 2))
            if left_out is not None:
                logits = logits.masked_fill(left_out[:, :, None, None], _LEFT_OUT)
            entropy = F.cross_entropy(
                logits, truth, ignore_index=self.ignore_index, reduction="none"
            )
            return entropy.sum((1, 2)), norm

        cut = self._frames(embeddings, of_clip)
        if len(cut) == 1:
            entropy, norm = of_frames(embeddings, of_clip.features, points, targets)
        else:
            sizes = [frames.stop - frames.start for frames in cut]
            # split and not an index: the gradient of an index is as large as the clip.
            parts = zip(
                embeddings.split(sizes, dim=2),
                of_clip.features.split(sizes),
                points.split(sizes, dim=1),
                targets.split(sizes, dim=1),
                strict=True,
            )
            sums = [
                checkpoint(of_frames, *part, use_reentrant=False, preserve_rng_state=False)
                for part in parts
            ]
            entropy, norm = (torch.stack(values).sum(0) for values in zip(*sums, strict=True))
        counted = (targets != self.ignore_index).sum((1, 2))
        return entropy, counted, norm, torch.full_like(counted, targets[0].numel())


class _Clip(NamedTuple):
    features: Tensor
    labels: Tensor
    num_classes: int
    has_background: bool


def _predictions(embeddings: Tensor, features: Tensor) -> Tensor:
    """Embeddings of one or several predictions, (L, Q, T, C)."""
    if embeddings.dim() != 4:
        return embeddings_of_frames(_NAME, embeddings, features)[None]
    if embeddings.shape[2:] != features.shape[:2]:
        raise ValueError(
            f"{_NAME}: embeddings must be (L, K, {features.shape[0]}, {features.shape[1]}), "
            f"got {tuple(embeddings.shape)}"
        )
    return embeddings


def _labels_at(labels: Tensor, points: Tensor) -> Tensor:
    """The labels (t, H, W) at (L, t, P, 2): (L, t, P)."""
    num_frames, num_points = points.shape[1:3]
    found = sample_labels(labels, points.transpose(0, 1).flatten(1, 2))
    return found.view(num_frames, len(points), num_points).transpose(0, 1)


def _second_less_best(logits: Tensor) -> Tensor:
    """By how much the second best class is below the best, (L, K, t, P) to (L, t, P)."""
    if logits.shape[1] == 1:
        return torch.zeros_like(logits[:, 0])
    best = logits.amax(1, keepdim=True)
    is_best = logits == best
    second = logits.masked_fill(is_best, -torch.inf).amax(1)
    # Where several classes are the best, the second is as good.
    return (second - best[:, 0]).where(is_best.sum(1) == 1, 0)
