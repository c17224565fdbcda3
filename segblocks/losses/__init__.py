"""Losses on masks, classes and embeddings; functions of tensors, and modules with settings."""

from segblocks.losses.class_queues import ClassContrast, ClassQueues
from segblocks.losses.classes import class_cross_entropy, class_targets, focal_loss
from segblocks.losses.contrastive import cosine_auxiliary, info_nce, pair_contrast
from segblocks.losses.group_logits import group_logits
from segblocks.losses.loss_sum import LossSum
from segblocks.losses.masks import (
    MaskLosses,
    PointMaskLoss,
    losses_from_sums,
    point_mask_losses,
    uncertain_points,
)
from segblocks.losses.objects import object_mask_losses, with_background
from segblocks.losses.point_sums import PointSums, point_sums, sums_of_logits
from segblocks.losses.reidentification import (
    ReidentificationLosses,
    hardest_pairs_losses,
    reidentification_losses,
)
from segblocks.losses.semantic import SemanticLosses, SemanticPointLoss
from segblocks.losses.taxonomy import TaxonomyMatchingLoss, presence_loss
from segblocks.losses.temporal_pairs import Appearances, ContrastPairs, temporal_pairs

__all__ = [
    "Appearances",
    "ClassContrast",
    "ClassQueues",
    "ContrastPairs",
    "LossSum",
    "MaskLosses",
    "PointMaskLoss",
    "PointSums",
    "ReidentificationLosses",
    "SemanticLosses",
    "SemanticPointLoss",
    "TaxonomyMatchingLoss",
    "class_cross_entropy",
    "class_targets",
    "cosine_auxiliary",
    "focal_loss",
    "group_logits",
    "hardest_pairs_losses",
    "info_nce",
    "losses_from_sums",
    "object_mask_losses",
    "pair_contrast",
    "point_mask_losses",
    "point_sums",
    "presence_loss",
    "reidentification_losses",
    "sums_of_logits",
    "temporal_pairs",
    "uncertain_points",
    "with_background",
]
