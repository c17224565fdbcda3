"""What each system is trained for."""

from segblocks.training.criteria.gvseg import GvSegCriterion
from segblocks.training.criteria.mask2former_vis import Mask2FormerVISCriterion
from segblocks.training.criteria.tarvis import TarViSCriterion
from segblocks.training.criteria.tmt_vis import TMTVISCriterion
from segblocks.training.criteria.univs import UniVSCriterion

__all__ = [
    "GvSegCriterion",
    "Mask2FormerVISCriterion",
    "TMTVISCriterion",
    "TarViSCriterion",
    "UniVSCriterion",
]
