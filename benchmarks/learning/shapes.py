"""What shape, position and the contrast of objects are worth where twins cross (GvSeg, 4a to 4c).

Every variant has the same number of steps and clips and several seeds. A run that was interrupted
is taken up, and a finished one is not repeated; rules of matching are measured on one training.
Judged are held-out videos of near twins that change places, by VIS: how often an object is found,
how often under another number than before, and AP. An ablation says something only where the full
model is well above what needs no training, and the difference above the spread over seeds.
"""

from __future__ import annotations

from benchmarks.learning.baselines import BASELINES
from benchmarks.learning.gvseg_variants import Scene, Variant, compare
from benchmarks.learning.id_switches import IdSwitches
from segblocks.metrics import TrackAP

SCENE = Scene(
    "twins",
    {"vis": 1.0},
    {"vis": {IdSwitches: ["switched", "found"], TrackAP: ["AP"]}},
    # Both are shown the truth of the first frame, classes included.
    {"vis": BASELINES},
)

_PLAIN = {"injection": False}
_APPEARANCE = {"spa_scale": 0.0}
_EVEN = {"spa_scale": 0.5, "normalize": True}
_NO_CONTRAST = {"contrast_weight": 0.0, "auxiliary_weight": 0.0}
VARIANTS = {
    "full": Variant(),
    # Table 4a; matching concerns VIS alone.
    "full, matched by appearance": Variant(policy=_APPEARANCE, trained_as="full"),
    "full, matched evenly": Variant(policy=_EVEN, trained_as="full"),
    "appearance alone": Variant(_PLAIN, policy=_APPEARANCE),
    "shape in the matching": Variant(_PLAIN, policy=_EVEN, trained_as="appearance alone"),
    "shape alone (literal)": Variant({"reading": "literal"}),
    "shape alone (literal), matched evenly": Variant(
        {"reading": "literal"}, policy=_EVEN, trained_as="shape alone (literal)"
    ),
    "no contrast": Variant(criterion=_NO_CONTRAST),
    "baseline": Variant(_PLAIN, _NO_CONTRAST, _APPEARANCE),
    # Table 4b, but for the queues: tau 0.5 is the full model's.
    **{f"tau {tau}": Variant(criterion={"max_change": tau}) for tau in (0.2, 0.35, 0.8)},
    "the rest negative": Variant(criterion={"far_same_id": "negative"}),
    # Table 4c: 36 x 12 are the full model's.
    **{
        f"{u} x {v} bins": Variant({"angles": u, "radii": v})
        for u, v in ((12, 6), (24, 12), (36, 18), (48, 12))
    },
}

if __name__ == "__main__":
    compare("shapes", __doc__, SCENE, VARIANTS)
