"""What classes of stuff gain from shape and from queues over the dataset (GvSeg, 4b, 4d and 4e).

Every variant has the same number of steps and clips and several seeds. A run that was interrupted
is taken up, and a finished one is not repeated. Judged are held-out videos with much stuff, by VPS
and VSS. An ablation says something only where the full model is well above what needs no training,
and the difference above the spread over seeds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from benchmarks.learning.baselines import BASELINES, commonest_class
from benchmarks.learning.gvseg_variants import RULE, Scene, Variant, compare
from segblocks.metrics import STQ, VPQ, MeanIoU, VideoConsistency
from segblocks.nn import ShapePositionInjection
from segblocks.zoo.gvseg import GvSeg, GvSegConfig, GvSegOutput

SCENE = Scene(
    "stuff",
    {"vps": 0.5, "vss": 0.5},
    {
        "vps": {VPQ: ["VPQ"], STQ: ["STQ"]},
        "vss": {MeanIoU: ["mIoU"], VideoConsistency: ["mVC8"]},
    },
    # Of VPS they are shown the truth of the first frame, of VSS its commonest class.
    {
        "vps": BASELINES,
        "vss": {"one class": commonest_class},
    },
)
# The fourth frame is near as well, instead of anywhere.
NEAR = replace(RULE, num_frames=4, further=0)


class ShapedStuff(GvSeg):
    """Classes of stuff are told about their masks, too (table 4d)."""

    def __init__(self, config: GvSegConfig) -> None:
        super().__init__(config)
        for step in self.decoder.blocks:
            if isinstance(step, ShapePositionInjection):
                step.groups = (*step.groups, "semantic")

    def _decode(self, *args: Any, selection: Any = None, **options: Any) -> GvSegOutput:
        return super()._decode(*args, selection=selection or self._confident, **options)

    def _confident(self, output: GvSegOutput) -> Tensor:
        assert output.class_logits is not None
        scores = output.class_logits.float().softmax(-1)[..., :-1]
        return scores.amax(-1) > self.config.min_thing_score


VARIANTS = {
    "full": Variant(),
    # Table 4d: things alone are told about their masks in the full model.
    "nothing has shape": Variant({"injection": False}),
    "stuff has shape": Variant(make=ShapedStuff),
    # Table 4b: queues of 100 are the full model's.
    "queues of 200": Variant(criterion={"queue_length": 200}),
    # Table 4e: things over the video and stuff over the dataset are the full model's.
    "things near, stuff near": Variant(criterion={"queue_length": 0}, rule=NEAR),
    "things near": Variant(rule=NEAR),
    "stuff near": Variant(criterion={"queue_length": 0}),
}

if __name__ == "__main__":
    compare("stuff", __doc__, SCENE, VARIANTS)
