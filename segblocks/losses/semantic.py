"""Cross-entropy over classes at points of semantic maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segblocks.losses.group_logits import group_logits
from segblocks.losses.loss_sum import LossSum
from segblocks.matching.point_logits import embeddings_of_frames
from segblocks.matching.points import IMPORTANCE, NUM_POINTS, OVERSAMPLE, importance_points
from segblocks.matching.sampling import points_of_frames, sample_labels, sample_maps

LabelSampling = Literal["nearest", "bilinear"]
IGNORE = -1
# The official codes' logit of a class left out, and score of a candidate left out.
_LEFT_OUT = -1000.0


class SemanticLosses(NamedTuple):
    """Cross-entropy over the points that have a label, and the logits' norm over all points."""

    cross_entropy: LossSum
    regularization: LossSum


@dataclass(frozen=True)
class SemanticPointLoss:
    """Multi-class cross-entropy at points where the two best classes are close (TarViS).

    One frame is worked on at a time and again for its gradient, so that the logits of all frames
    are never held.

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
                "SemanticPointLoss: label_sampling must be 'nearest' or 'bilinear', "
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
            embeddings: (K, C) or (K, T, C), one a class.
            features: (T, C, h, w).
            labels: (T, H, W), integers: the class, K where there is the background (only with
                ``background``), or ``ignore_index``.
            background: (B, C) or (B, T, C), queries whose greatest logit stands for class K.
            points: (P, 2) or (T, P, 2) to be used instead of drawn ones.
            generator: draws the points.

        Returns:
            Sum of the cross-entropy over the points with a label, their number, sum of the L2
            norm of the logits over all points, and their number. ``.mean`` is the loss; TarViS
            weights the norm with 1e-3 where it uses it.

        Raises:
            ValueError: shapes that do not fit, or labels that are not integers.
        """
        groups = [slice(k, k + 1) for k in range(len(embeddings))]
        embeddings = embeddings_of_frames("SemanticPointLoss", embeddings, features)
        if background is not None:
            extra = embeddings_of_frames("SemanticPointLoss", background, features)
            groups.append(slice(len(embeddings), len(embeddings) + len(extra)))
            embeddings = torch.cat((embeddings, extra))
        self._check(labels, features)
        if points is None:
            points = self._draw(embeddings, features, labels, groups, generator)
        points = points_of_frames("SemanticPointLoss", points, len(features))
        targets = self._targets(labels, points, len(groups), background is not None)
        left_out = self._left_out(embeddings, features, groups, points, targets)
        return self._sums(embeddings, features, groups, points, targets, left_out)

    def _check(self, labels: Tensor, features: Tensor) -> None:
        if labels.dim() != 3 or len(labels) != len(features) or labels.is_floating_point():
            raise ValueError(
                f"SemanticPointLoss: labels must be integers ({len(features)}, H, W), "
                f"got {tuple(labels.shape)} {labels.dtype}"
            )

    def _logits(
        self, embeddings: Tensor, frame: Tensor, groups: Sequence[slice], points: Tensor
    ) -> Tensor:
        """Logits of one frame at (P, 2): (K, P)."""
        compat = self.official_compat
        return group_logits(
            embeddings[:, None], frame[None], groups, points, official_compat=compat
        )[:, 0]

    def _draw(
        self,
        embeddings: Tensor,
        features: Tensor,
        labels: Tensor,
        groups: Sequence[slice],
        generator: torch.Generator | None,
    ) -> Tensor:
        frames = []
        for t, frame in enumerate(features):

            def score(at: Tensor, t: int = t, frame: Tensor = frame) -> Tensor:
                logits = self._logits(embeddings[:, t], frame, groups, at)
                best = logits.topk(min(2, len(logits)), dim=0).values
                ignored = sample_labels(labels[t : t + 1], at)[0] == self.ignore_index
                return (best[-1] - best[0]).masked_fill(ignored, _LEFT_OUT)

            frames.append(
                importance_points(
                    score,
                    (),
                    self.num_points,
                    oversample=self.oversample,
                    importance=self.importance,
                    generator=generator,
                    device=features.device,
                )
            )
        return torch.stack(frames)

    def _targets(
        self, labels: Tensor, points: Tensor, num_classes: int, has_background: bool
    ) -> Tensor:
        nearest = sample_labels(labels, points).long()
        if self.label_sampling == "nearest":
            return nearest
        # The official numbers: 0 is the background where there is one.
        shift = int(has_background)
        numbers = (labels.long() + shift) % num_classes
        sampled = torch.stack(
            [sample_maps(numbers[t : t + 1, None], points[t])[0, 0] for t in range(len(labels))]
        )
        targets = (sampled.long() - shift) % num_classes
        return targets.where(nearest != self.ignore_index, self.ignore_index)

    @torch.no_grad()
    def _left_out(
        self,
        embeddings: Tensor,
        features: Tensor,
        groups: Sequence[slice],
        points: Tensor,
        targets: Tensor,
    ) -> Tensor | None:
        """Classes (K,) that no point has, neither as label nor as prediction."""
        if not self.ignore_null_classes:
            return None
        seen = torch.zeros(len(groups), dtype=torch.bool, device=features.device)
        for t, frame in enumerate(features):
            seen[self._logits(embeddings[:, t], frame, groups, points[t]).argmax(dim=0)] = True
        seen[targets[targets != self.ignore_index]] = True
        return ~seen

    def _sums(
        self,
        embeddings: Tensor,
        features: Tensor,
        groups: Sequence[slice],
        points: Tensor,
        targets: Tensor,
        left_out: Tensor | None,
    ) -> SemanticLosses:
        def of_frame(
            embeddings: Tensor, frame: Tensor, at: Tensor, truth: Tensor
        ) -> tuple[Tensor, Tensor]:
            logits = self._logits(embeddings, frame, groups, at)
            norm = torch.linalg.vector_norm(logits, dim=0).sum()
            if left_out is not None:
                logits = logits.masked_fill(left_out[:, None], _LEFT_OUT)
            entropy = F.cross_entropy(
                logits.T, truth, ignore_index=self.ignore_index, reduction="sum"
            )
            return entropy, norm

        # unbind and not an index: the gradient of an index is as large as the clip.
        frames = zip(embeddings.unbind(1), features.unbind(), points, targets, strict=True)
        sums = [
            checkpoint(of_frame, *frame, use_reentrant=False, preserve_rng_state=False)
            for frame in frames
        ]
        entropy, norm = (torch.stack(values).sum() for values in zip(*sums, strict=True))
        counted = (targets != self.ignore_index).sum()
        return SemanticLosses(
            LossSum(entropy, counted), LossSum(norm, counted.new_tensor(targets.numel()))
        )
