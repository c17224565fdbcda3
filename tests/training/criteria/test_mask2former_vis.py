"""The losses of Mask2Former-VIS and TMT-VIS against a slow transcription of whole maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.training.criteria import TMTVISCriterion
from segblocks.zoo.tmt_vis import TaxonomyOutput
from tests.training.criteria.test_tarvis import fixed_points, mask_losses, matching, padded
from tests.training.criteria.test_tmt_vis import ANIMALS, POINTS, STREET, clip, model

__all__ = ["fixed_points"]


def whole_maps(embeddings: Tensor, output: TaxonomyOutput) -> Tensor:
    """Mask logits (Q, T, h, w) of one prediction, every pixel of them."""
    return torch.einsum("qc,tchw->qthw", embeddings[0].double(), output.mask_features[0].double())


def transcribed(output: TaxonomyOutput, one: TrainingClip) -> dict[str, Tensor]:
    """Mask2Former section 3.3 and TMT-VIS section 3.4, one query and object at a time."""
    masks = padded(one.masks).double()
    zero = torch.zeros((), dtype=torch.float64)
    losses = {"mask": zero, "dice": zero, "class": zero, "taxonomy": zero}
    for prediction in output.predictions:
        maps = whole_maps(prediction.mask_embeddings, output)
        classes = prediction.class_logits[0].double()
        wanted = torch.full((len(classes),), classes.shape[1] - 1)
        ordinary = prediction.name == "prediction"
        for q, o in matching(maps, classes, masks, one.labels):
            wanted[q] = one.labels[o]
            if ordinary:
                entropy, dice = mask_losses(maps[q], masks[o])
                losses["mask"] = losses["mask"] + 5 * entropy / len(masks)
                losses["dice"] = losses["dice"] + 5 * dice / len(masks)
        weight = torch.ones(classes.shape[1], dtype=torch.float64)
        weight[-1] = 0.1
        name, factor = ("class", 2.0) if ordinary else ("taxonomy", 0.5)
        losses[name] = losses[name] + factor * F.cross_entropy(classes, wanted, weight)
    scores = output.taxonomy.logits[0].double()
    there = torch.zeros_like(scores)
    there[one.labels] = 1
    return losses | {"presence": F.binary_cross_entropy(scores.sigmoid(), there)}


@pytest.mark.usefixtures("fixed_points")
@pytest.mark.parametrize(
    ("vocabulary", "labels", "frames"), [(ANIMALS, [2, 0, 2], 2), (STREET, [1], 1)]
)
@torch.no_grad()
def test_losses_are_those_of_a_slow_transcription(
    vocabulary: tuple, labels: list[int], frames: int
) -> None:
    one = clip(vocabulary, labels, seed=3, frames=frames)
    (output,) = model().forward_clips(one.frames[None], [one.tasks])
    ours = TMTVISCriterion(num_points=POINTS)([output], [one])
    slow = transcribed(output, one)
    assert ours.keys() == slow.keys()
    for term, loss in slow.items():
        torch.testing.assert_close(ours[term].double(), loss, rtol=2e-4, atol=1e-4)
