"""What each system is trained for."""

from segblocks.training.criteria.tarvis import TarViSCriterion

__all__ = ["TarViSCriterion"]
