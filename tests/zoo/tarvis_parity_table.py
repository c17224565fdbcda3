"""Print the table of docs/tarvis.md: the worst error of each kind of stage, a column a network."""

from __future__ import annotations

from collections import defaultdict

from tests import parity
from tests.zoo.test_tarvis_parity import NETWORKS, stage_errors

KINDS = {
    "backbone": ("backbone/",),
    "first neck layers": ("deform_0", "neck_layer_0"),
    "neck": ("neck/",),
    "object encoder": ("encoder_queries_in", "background_queries", "object_queries"),
    "decoder states": ("queries_in", "decoder/"),
    "class logits": ("class_logits",),
    "mask logits": ("mask_logits",),
    "decoder states, class and mask logits less their mean": (
        "decoder_dev",
        "class_logits_dev",
        "mask_logits_dev",
    ),
    "outputs": ("output/",),
}


def main() -> None:
    worst: dict[str, dict[str, float]] = defaultdict(dict)
    for network in NETWORKS:
        for case in parity.golden(network)["cases"]:
            for stage, error in stage_errors(network, case["id"]).items():
                fitting = [k for k, prefixes in KINDS.items() if stage.startswith(prefixes)]
                kind = fitting[-1]
                worst[kind][network] = max(worst[kind].get(network, 0.0), error)
    print("| stages |", " | ".join(NETWORKS), "|")
    print("|---|" + "---|" * len(NETWORKS))
    for kind in KINDS:
        errors = (worst[kind].get(network) for network in NETWORKS)
        print(f"| {kind} |", " | ".join("-" if e is None else f"{e:.1e}" for e in errors), "|")


if __name__ == "__main__":
    main()
