"""TarViS reproduces the official network's activations, stage by stage, through the converter."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segblocks.nn import ClipOutput
from segblocks.ops import resize_logits
from segblocks.tasks import PET, VIS, VOS, VPS, Task
from segblocks.zoo import convert_state_dict, create_model
from segblocks.zoo.tarvis import TarViS
from tests import parity

pytestmark = pytest.mark.parity

NETWORKS = ("tarvis_resnet50", "tarvis_swin_tiny")
TYPES = {"background_vos": "object_background", "vos": "object"}
VOCABULARIES = {
    "YOUTUBE_VIS": "youtube_vis_2021",
    "OVIS": "ovis",
    "VIPSEG": "vipseg",
    "KITTI_STEP": "kitti_step",
    "CITYSCAPES_VPS": "cityscapes_vps",
}
DECODER_TOLERANCE = 1e-3


def cases() -> list[Any]:
    """All recorded cases, or one that skips where there are none."""
    try:
        return [
            pytest.param(network, case["id"], id=case["id"])
            for network in NETWORKS
            for case in parity.golden(network)["cases"]
        ]
    except pytest.skip.Exception as skipped:
        return [pytest.param("", "", marks=pytest.mark.skip(reason=str(skipped)), id="absent")]


@functools.lru_cache(maxsize=1)
def model_of(network: str, prefix: str) -> TarViS:
    case = next(c for c in parity.golden(network)["cases"] if c["weights"]["prefix"] == prefix)
    meta = parity.golden(network)["meta"]
    constants = {name: torch.tensor(meta[name]) for name in ("pixel_mean", "pixel_std")}
    state = convert_state_dict(parity.case_state_dict(network, case, constants), "tarvis")
    model = create_model(network)
    model.load_state_dict(state)
    return model.eval()


def hinted_task(case: dict[str, Any]) -> Task:
    about, args, fill = case["clip"], case["args"], parity.fill_module()
    size = (about["height"], about["width"])
    if case["task"] == "vos":
        return VOS(
            {
                reference["frame"]: fill.masks(reference["mask_seed"], args["objects"], *size)
                for reference in args["reference"]
            },
            ids={
                reference["frame"]: range(1, args["objects"] + 1) for reference in args["reference"]
            },
        )
    points = fill.points(args["points_seed"], args["objects"], *size)
    frames = np.array(args["reference_frames"])
    return PET(
        {int(f): points[frames == f] for f in np.unique(frames)},
        ids={int(f): (np.flatnonzero(frames == f) + 1).tolist() for f in np.unique(frames)},
    )


def task_of(case: dict[str, Any]) -> Task:
    if case["task"] in ("vos", "pet"):
        return hinted_task(case)
    kind = VPS if case["task"] == "vps" else VIS
    return kind(VOCABULARIES[case["args"].get("dataset", "OVIS")])


def run(model: TarViS, case: dict[str, Any], device: str = "cpu") -> dict[str, Tensor]:
    """All stages of a case under the names of the golden file."""
    model = model.to(device)
    stages: dict[str, Any] = {}
    watched = {
        "backbone": model.backbone,
        "neck": model.neck,
        "deform_0": model.neck.deformable_layers[0],
        "neck_layer_0": model.neck.temporal_layers[0],
        "encoded": model.object_encoder,
    }
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: stages.__setitem__(name, out))
        for name, module in watched.items()
    ]
    frames = parity.clip(case).permute(0, 3, 1, 2)[None].to(device)
    with torch.no_grad():
        output = model(frames, task_of(case))
    for handle in handles:
        handle.remove()
    found = {"deform_0": stages["deform_0"], "neck_layer_0": stages["neck_layer_0"][0]}
    for part in ("backbone", "neck"):
        found |= {f"{part}/{stride}": level[0] for stride, level in stages[part].items()}
    found |= decoder_stages(output) | encoder_stages(stages, output) | outputs(output, case)
    return {stage: values.cpu() for stage, values in found.items()}


def decoder_stages(output: ClipOutput) -> dict[str, Tensor]:
    found = {"queries_in": output.queries[0][0]}
    for index, queries in enumerate(output.queries):
        found[f"decoder/{index}"] = queries[0]
        parts = [queries[0, part].double() for part in output.groups.values()]
        found[f"decoder_dev/{index}"] = torch.cat([p - p.mean(0) for p in parts])
    for suffix, at in {"_initial": output.auxiliary[0], "": output}.items():
        logits = at.mask_logits[0]
        for group, part in output.groups.items():
            name = {ours: theirs for theirs, ours in TYPES.items()}.get(group, group)
            found[f"mask_logits{suffix}/{name}"] = logits[part]
            found[f"mask_logits_dev{suffix}/{name}"] = deviation(logits[part])
        if at.class_logits is not None:
            found[f"class_logits{suffix}"] = at.class_logits[0].roll(1, dims=-1)
    if "class_logits" in found:
        found["class_logits_dev"] = deviation(found["class_logits"])
    return found


def deviation(values: Tensor) -> Tensor:
    return values.double() - values.double().mean(0)


def encoder_stages(stages: dict[str, Any], output: ClipOutput) -> dict[str, Tensor]:
    if "encoded" not in stages:
        return {}
    encoded = stages["encoded"]
    return {
        "encoder_queries_in": encoded.initial,
        "background_queries": encoded.background,
        "object_queries": encoded.objects.unflatten(0, (len(output.object_ids), -1)),
    }


def outputs(output: ClipOutput, case: dict[str, Any]) -> dict[str, Tensor]:
    about = case["clip"]
    size = (about["height"], about["width"])

    def resized(logits: Tensor) -> Tensor:
        return torch.stack([resize_logits(f, size, size) for f in logits.unbind(1)], 1)

    if "instance" in output.groups:
        return instance_outputs(output, case, resized)
    logits = torch.stack(
        [output.select_mask_logits(part)[0].amax(0) for part in output.object_slices]
    )
    for number, frame in enumerate(case["args"].get("reference_frames", [])):
        logits[number, :frame] = -1000.0
    full = resized(logits)
    best, label = full.max(0)
    return {
        "output/object_mask_logits": logits,
        "output/object_mask_logits_dev": deviation(logits),
        "output/object_logits_resized": full,
        "output/label_map": torch.where(best > 0, label + 1, 0),
    }


def instance_outputs(output: ClipOutput, case: dict[str, Any], resized: Any) -> dict[str, Tensor]:
    assert output.class_logits is not None
    scores, labels = output.class_logits[0].softmax(-1)[:, :-1].max(-1)
    masks = {group: output.select_mask_logits(part)[0] for group, part in output.groups.items()}
    found = {
        "output/instance_scores": scores,
        "output/instance_labels": labels + 1,
        "output/instance_logits_resized": resized(masks["instance"]),
    }
    if case["task"] != "vps":
        background = masks["background"].amax(0, keepdim=True)
        found["output/semantic_logits"] = torch.cat((background, masks["semantic"]))
        return found
    found["output/semantic_logits"] = masks["semantic"]
    stuff = masks["semantic"].clone()
    stuff[case["args"]["thing_class_ids"]] = -1000.0
    found["output/stuff_map"] = resized(stuff).argmax(0)
    return found


def allowed(stage: str, golden: dict[str, Any]) -> float:
    if stage.startswith(("backbone", "neck", "deform", "encoder", "background_q", "object_q")):
        return parity.tolerance(golden)
    return DECODER_TOLERANCE


def stage_errors(network: str, identifier: str, device: str = "cpu") -> dict[str, float]:
    """Relative error of each stage; of integer stages, the share of values that differ."""
    case = parity.case(network, identifier)
    found = run(model_of(network, case["weights"]["prefix"]), case, device)
    errors = {}
    for stage, golden in case["stages"].items():
        if golden.get("kind") == "integer":
            flat = found[stage].flatten().numpy()
            index = parity.fill_module().sample_indices(stage, flat.size, len(golden["values"]))
            errors[stage] = float(np.mean(flat[index] != golden["values"]))
        else:
            errors[stage] = parity.compare(stage, found[stage], golden)
    return errors


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("network", "identifier"), cases())
def test_stages_match_the_official_network(network: str, identifier: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA")
    golden = parity.case(network, identifier)["stages"]
    errors = stage_errors(network, identifier, device)
    assert errors.keys() == golden.keys()
    wrong = {s: e for s, e in errors.items() if not e <= allowed(s, golden[s])}
    assert not wrong
