"""Which query answers for which target, and the points at which masks are compared."""

from segblocks.matching.costs import MatchingCost, class_cost, mask_costs
from segblocks.matching.hungarian import Match, linear_assignment
from segblocks.matching.point_logits import point_logits
from segblocks.matching.points import importance_points, seeded_generator, uniform_points
from segblocks.matching.sampling import sample_features, sample_labels, sample_maps

__all__ = [
    "Match",
    "MatchingCost",
    "class_cost",
    "importance_points",
    "linear_assignment",
    "mask_costs",
    "point_logits",
    "sample_features",
    "sample_labels",
    "sample_maps",
    "seeded_generator",
    "uniform_points",
]
