"""Print the table of docs/univs.md: the worst error of each kind of stage, over all cases."""

from __future__ import annotations

from collections import defaultdict

from tests import parity
from tests.zoo.test_univs_parity import NETWORK, stage_errors

KINDS = {
    "backbone": "backbone/",
    "neck": ("pixel_decoder/", "mask_features"),
    "language to image": ("lang2vision/", "output", "scaled_weights/"),
    "visual prompts, memory of prompts": ("prompt/tok", "prompt/initial", "pool/", "tok", "point"),
    "positions": ("position/", "arbitrary/", "fixed/", "memory/"),
    "attention to prompts": "prompt/proca/",
    "queries": ("learnable/query", "prompt/query", "layer0/", "learnable/emb", "prompt/emb"),
    "class logits": ("learnable/class", "prompt/class"),
    "mask logits": ("learnable/mask", "prompt/mask"),
}


def main() -> None:
    worst: dict[str, float] = defaultdict(float)
    for case in parity.golden(NETWORK)["cases"]:
        for stage, error in stage_errors(case["id"]).items():
            kind = next(kind for kind, prefixes in KINDS.items() if stage.startswith(prefixes))
            worst[kind] = max(worst[kind], error)
    print("| stages | error |\n|---|---|")
    for kind in KINDS:
        print(f"| {kind} | {worst[kind]:.1e} |")


if __name__ == "__main__":
    main()
