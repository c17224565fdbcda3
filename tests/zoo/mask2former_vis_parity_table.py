"""Print the table of docs/mask2former_vis.md: the worst error of each kind of stage, by case."""

from __future__ import annotations

from tests import parity
from tests.zoo.test_mask2former_vis_parity import NETWORK, stage_errors

KINDS = {
    "backbone": "backbone/",
    "neck": "pixel_decoder/",
    "mask features": "mask_features",
    "decoder states": "query/",
    "class logits": "class_logits/",
    "mask logits": "mask_logits/",
}


def main() -> None:
    cases = [case["id"] for case in parity.golden(NETWORK)["cases"]]
    errors = {case: stage_errors(case) for case in cases}
    print("| stages |", " | ".join(cases), "|")
    print("|---|" + "---|" * len(cases))
    for kind, prefix in KINDS.items():
        worst = (max(e for s, e in errors[c].items() if s.startswith(prefix)) for c in cases)
        print(f"| {kind} |", " | ".join(f"{e:.1e}" for e in worst), "|")


if __name__ == "__main__":
    main()
