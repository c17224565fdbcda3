"""Which queries of two moments of a video GvSeg should find alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.losses import Appearances, ContrastPairs, LossSum, cosine_auxiliary, pair_contrast
from segblocks.losses.temporal_pairs import FarSameId, temporal_pairs
from segblocks.matching import Match
from segblocks.nn import ShapePositionDescriptor
from segblocks.training.criteria.gvseg_targets import Targets
from segblocks.training.criteria.terms import as_padded
from segblocks.zoo.gvseg import GvSegOutput

_STRIDE = 4
_THINGS = ("instance", "object", "object_background")


class Moment(NamedTuple):
    """Some frames of a clip as the model sees them.

    Args:
        output: of the model, with embeddings.
        targets: of these frames.
        match: of the last prediction with the targets.
    """

    output: GvSegOutput
    targets: Targets
    match: Match

    @property
    def embeddings(self) -> Tensor:
        """By which queries of two moments are compared, (Q, C)."""
        assert self.output.embeddings is not None
        return self.output.embeddings[0]

    def things(self) -> tuple[Tensor, Tensor]:
        """Return the queries of things, (n,), and the object of each, -1 for none.

        The queries of hinted objects that are out of sight are left out: nothing says what they
        should look like.
        """
        num_queries = len(self.embeddings)
        ids = torch.full((num_queries,), -1, device=self.embeddings.device)
        is_thing = torch.zeros_like(ids, dtype=torch.bool)
        for group in _THINGS:
            is_thing[self.output.groups.get(group, slice(0, 0))] = True
        queries, targets = self.match
        ids[queries] = self.targets.ids[targets]
        is_thing[queries[~self.targets.visible[targets]]] = False
        kept = is_thing.nonzero()[:, 0]
        return kept, ids[kept]


class ObjectContrast:
    """Contrast the objects of a clip with those of other moments (GvSeg section 3.1).

    The descriptors are those of the true masks at stride 4; of a clip's frames counts the one that
    shows the object and is nearest to the other moment.

    Args:
        descriptor: of masks.
        max_change: see :func:`~segblocks.losses.temporal_pairs`, as the next two.
        far_same_id: what the same object is where it has changed.
        reach: frames within which the same object is always alike.
        min_area: of a mask at stride 4; smaller ones have no descriptor.
    """

    def __init__(
        self,
        descriptor: ShapePositionDescriptor,
        *,
        max_change: float,
        far_same_id: FarSameId,
        reach: int,
        min_area: int,
    ) -> None:
        self.descriptor = descriptor
        self.max_change = max_change
        self.far_same_id: FarSameId = far_same_id
        self.reach = reach
        self.min_area = min_area

    def __call__(self, moments: Sequence[Moment], clip: TrainingClip) -> dict[str, LossSum]:
        """Return the contrastive loss and the one on cosines.

        Args:
            moments: the clip, then the others of its video, at least one.
            clip: with the true masks.
        """
        first, *others = moments
        queries, ids = first.things()
        anchors = first.embeddings[queries[ids >= 0]]
        keys = torch.cat([moment.embeddings[moment.things()[0]] for moment in others])
        positives, negatives = self.pairs(moments, clip)
        with torch.autocast(anchors.device.type, enabled=False):
            similarity = anchors.float() @ keys.float().T
        loss = pair_contrast(similarity, positives, negatives=negatives)
        auxiliary = cosine_auxiliary(anchors, keys, positives, negatives=negatives)
        # Both are means; their sums and divisors are joined with those of other clips.
        count = (positives.any(1) & negatives.any(1)).sum().to(loss)
        compared = (positives | negatives).sum().to(loss)
        return {
            "contrast": LossSum(loss * count, count),
            "auxiliary": LossSum(auxiliary * compared, compared),
        }

    @torch.no_grad()
    def pairs(self, moments: Sequence[Moment], clip: TrainingClip) -> ContrastPairs:
        """Return which queries of the other moments the clip's objects are to resemble, or not.

        Args:
            moments: as for calling.
            clip: with the true masks.

        Returns:
            (A, K) bool, the objects that the clip shows against the things of all other moments.
        """
        first, *others = moments
        shapes, valid = self._shapes(clip, first.output)
        times = torch.tensor(clip.frame_indices, device=shapes.device)
        own = torch.tensor(first.output.frame_indices, device=shapes.device)
        _, ids = first.things()
        ids = ids[ids >= 0]
        found = []
        for moment in others:
            (frame,) = moment.output.frame_indices
            away = (times[own] - times[frame]).abs().expand(len(ids), -1)
            away = away.masked_fill(~valid[ids][:, own], 2**31)
            nearest = own[away.argmin(1)]
            _, of_keys = moment.things()
            # One more row, for queries without an object.
            there = torch.cat((shapes[:, frame], torch.zeros_like(shapes[:1, frame])))
            found.append(
                temporal_pairs(
                    Appearances(ids, times[nearest], shapes[ids, nearest]),
                    Appearances(of_keys, times[frame].expand(len(of_keys)), there[of_keys]),
                    max_change=self.max_change,
                    far_same_id=self.far_same_id,
                    reach=self.reach,
                )
            )
        positives, negatives = (torch.cat(sets, dim=1) for sets in zip(*found, strict=True))
        return ContrastPairs(positives, negatives)

    def _shapes(self, clip: TrainingClip, output: GvSegOutput) -> tuple[Tensor, Tensor]:
        """Descriptors (O, T, u, v) of all objects in all frames, and whether they are valid."""
        masks = as_padded(clip.masks, output.mask_features[0], fill=False)
        small = F.avg_pool2d(masks.flatten(0, 1).float(), _STRIDE) >= 0.5
        small = small.unflatten(0, masks.shape[:2])
        height, width = (-(-side // _STRIDE) for side in clip.masks.shape[-2:])
        found = self.descriptor(small, (height, width))
        valid = found.valid & (small.sum((-2, -1)) >= self.min_area)
        return found.histogram * valid[..., None, None], valid
