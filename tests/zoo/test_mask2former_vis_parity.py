"""Mask2Former-VIS reproduces the official network's activations, through the converter."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.inference import segment
from segblocks.tasks import VIS
from segblocks.zoo import convert_state_dict, create_model
from segblocks.zoo.mask2former_vis import Mask2FormerVIS
from tests import parity

pytestmark = pytest.mark.parity

NETWORK = "mask2former_vis_resnet50"
DECODER_TOLERANCE = 1e-3
# The plain cases' scores lie as close to each other as rounding lets them differ.
SCORE_TOLERANCE = 1e-5


def cases() -> list[Any]:
    """All recorded cases, or one that skips where there are none."""
    try:
        return [pytest.param(case["id"], id=case["id"]) for case in parity.golden(NETWORK)["cases"]]
    except pytest.skip.Exception as skipped:
        return [pytest.param("", marks=pytest.mark.skip(reason=str(skipped)), id="absent")]


@functools.lru_cache(maxsize=1)
def model_of(identifier: str) -> Mask2FormerVIS:
    state = parity.case_state_dict(NETWORK, parity.case(NETWORK, identifier))
    model = create_model(NETWORK)
    assert isinstance(model, Mask2FormerVIS)
    model.load_state_dict(convert_state_dict(state, "mask2former_vis"))
    return model.eval()


@torch.no_grad()
def run(identifier: str, device: str = "cpu") -> dict[str, Tensor]:
    """All stages of a case under the names of the golden file."""
    model = model_of(identifier).to(device)
    frames = parity.clip(parity.case(NETWORK, identifier)).permute(0, 3, 1, 2)[None].to(device)
    pyramid = model.extract(frames)
    levels = model.neck(pyramid)
    output = model(frames, VIS("youtube_vis_2021"), features=pyramid)
    found = {"input": model.normalise(frames)[0], "mask_features": levels[4][0]}
    found |= {f"backbone/{stride}": level[0] for stride, level in pyramid.items()}
    found |= {f"pixel_decoder/{stride}": levels[stride][0] for stride in (32, 16, 8)}
    for index, at in enumerate((*output.auxiliary, output)):
        assert at.class_logits is not None
        found[f"query/{index}"] = at.queries[-1][0]
        found[f"class_logits/{index}"] = at.class_logits[0]
        found[f"mask_logits/{index}"] = at.mask_logits[0]
    return {stage: values.cpu() for stage, values in found.items()}


def stage_errors(identifier: str, device: str = "cpu") -> dict[str, float]:
    """Relative error of each stage."""
    found = run(identifier, device)
    golden = parity.case(NETWORK, identifier)["stages"]
    assert found.keys() == golden.keys()
    return {stage: parity.compare(stage, found[stage], golden[stage]) for stage in golden}


def allowed(stage: str, golden: dict[str, Any]) -> float:
    if stage.startswith(("query", "class_logits", "mask_logits")):
        return DECODER_TOLERANCE
    return 5 * golden["noise"]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("identifier", cases())
def test_stages_match_the_official_network(identifier: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA")
    golden = parity.case(NETWORK, identifier)["stages"]
    errors = stage_errors(identifier, device)
    wrong = {s: e for s, e in errors.items() if not e <= allowed(s, golden[s])}
    assert not wrong


@pytest.mark.parametrize("identifier", cases())
def test_masks_blocked_are_those_of_the_official_network(identifier: str) -> None:
    case = parity.case(NETWORK, identifier)
    found = run(identifier)
    for mask in case["attention_masks"]:
        logits = found[f"mask_logits/{mask['prediction']}"]
        resized = torch.nn.functional.interpolate(logits, mask["size"], mode="bilinear")
        blocked = resized < 0
        assert int(blocked.sum()) == mask["blocked"]
        assert int(blocked.flatten(1).all(1).sum()) == mask["rows_all_blocked"]


@pytest.mark.parametrize("identifier", cases())
def test_results_match_the_official_inference(identifier: str) -> None:
    case = parity.case(NETWORK, identifier)
    expected = case["inference"]
    frames = parity.clip(case).numpy()
    model = model_of(identifier).to("cpu")
    result = segment(model, frames, VIS("youtube_vis_2021"), short_side=0)
    tracks = result.tracks
    assert result.size == tuple(expected["output_size"])
    assert [track.score for track in tracks] == pytest.approx(
        expected["scores"], abs=SCORE_TOLERANCE
    )
    names = model.vocabulary.classes
    assert [names.index(track.label) for track in tracks] == expected["labels"]
    pixels = [[int(mask.sum()) for mask in track.masks()] for track in tracks]
    for ours, theirs in zip(pixels, expected["mask_pixels"], strict=True):
        # A pixel whose logit is nothing but rounding may go either way.
        assert ours == pytest.approx(theirs, abs=2)
