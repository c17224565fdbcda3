"""UniVS reproduces the official network's activations, stage by stage, through the converter."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.nn import (
    DecoderContext,
    GroundedMaskEmbedding,
    Level,
    Memory,
    Queries,
    VisualSampler,
    mask_logits,
    sine_position_3d,
)
from segblocks.nn.visual_sampler import frame_time, mask_point, point_position
from segblocks.tracking import PromptMemory
from segblocks.zoo import convert_state_dict
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES
from segblocks.zoo.univs import UniVS, UniVSConfig
from segblocks.zoo.univs.prompts import Prompts
from tests import parity

pytestmark = pytest.mark.parity

NETWORK = "univs_decoder_resnet50"
STATE_DICT = "univs_resnet50"
# About five times the noise of float32 that the goldens state.
UNIT_TOLERANCE, TOLERANCE = 5e-6, 1e-5
TIMES = {"ArbitraryT": "absolute", "FixedT": "relative"}


def cases(kind: str) -> list[Any]:
    """The recorded cases of a kind, or one that skips where there are none."""
    try:
        found = [c for c in parity.golden(NETWORK)["cases"] if c["task"].startswith(kind)]
    except pytest.skip.Exception as skipped:
        return [pytest.param("", marks=pytest.mark.skip(reason=str(skipped)), id="absent")]
    return [pytest.param(case["id"], id=case["id"]) for case in found]


def filled(name: str, shape: list[int]) -> Tensor:
    return torch.from_numpy(parity.fill_module().fill_parameter(name, tuple(shape)))


def inputs_of(case: dict[str, Any]) -> dict[str, Tensor]:
    given = case.get("inputs") or case["args"]["inputs"]
    return {name: filled(about["fill_name"], about["shape"]) for name, about in given.items()}


def permutation(n: int) -> Tensor:
    return torch.from_numpy(parity.fill_module().rng_for(f"permutation/{n}").permutation(n))


def class_table() -> Tensor:
    return filled("input/class_text_embeddings", [3938, 640])


@functools.lru_cache(maxsize=2)
def build(prefix: str, scales: str, queries: int, separation: str, time: str) -> UniVS:
    about = next(
        c["weights"]
        for c in parity.golden(NETWORK)["cases"]
        if "weights" in c
        and (c["weights"]["prefix"], str(c["weights"]["scales"])) == (prefix, scales)
    )
    entries = [
        (
            name,
            [queries, *shape[1:]]
            if name.endswith(("query_feat.weight", "query_embed.weight"))
            else shape,
            kind,
        )
        for name, shape, kind in parity.read(f"{STATE_DICT}_state_dict")
    ]
    state = parity.fill_state_dict(entries, about["prefix"], about["scales"])
    config = UniVSConfig(
        num_queries=queries, separation=separation, time=time, official_compat=True
    )
    model = UniVS(config)
    model.load_state_dict(convert_state_dict(state, "univs"))
    model.permutation = permutation
    return model.eval()


def model_of(case: dict[str, Any]) -> UniVS:
    weights, config = case["weights"], case.get("config", {})
    return build(
        weights["prefix"],
        str(weights["scales"]),
        config.get("learnable_queries", 20),
        config.get("self_attention_mask", "sep"),
        TIMES[config.get("position", "ArbitraryT")],
    )


@contextmanager
def watched(model: UniVS) -> Iterator[dict[str, Any]]:
    """The outputs of the steps of the decoder, and of backbone and neck."""
    found: dict[str, Any] = {}
    modules = {f"step/{n}": step for n, step in enumerate(model.decoder.blocks)}
    modules |= {"backbone": model.backbone, "neck": model.neck}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out))
        for name, module in modules.items()
    ]
    yield found
    for handle in handles:
        handle.remove()


def layout(x: Tensor) -> Tensor:
    """(1, T, N, C) as the golden files have it, (N, T, C)."""
    return x[0].transpose(0, 1)


def context_stages(context: DecoderContext) -> dict[str, Tensor]:
    found = {}
    for stride in STRIDES:
        level = context.levels[stride]
        found[f"memory/{stride}"] = layout(level.tokens)
        found[f"position/{stride}"] = level.positions.transpose(0, 1)
    return found


def decode(
    model: UniVS,
    context: DecoderContext,
    features: Tensor,
    prompts: Prompts,
    kind: str,
    sentences: Tensor | None,
) -> dict[str, Tensor]:
    """Run the decoder on one kind of prompts; all stages from there on."""
    queries = model.queries({kind: prompts}, context)
    if sentences is None:
        context.memory["classes"] = Memory(class_table()[None])
    with watched(model) as steps:
        predictions = model.decoder(queries, context).predictions
    groups = queries.groups
    found: dict[str, Tensor] = {}
    for i, prediction in enumerate(predictions):
        logits = mask_logits(prediction.mask_embeddings, features)[0]
        normed = model.predict.norm(prediction.queries)
        classes = prediction.class_logits
        if sentences is not None:
            classes = model.predict.class_head.match(normed, sentences)
        for stream in ("learnable", "prompt"):
            part = groups[stream]
            found[f"{stream}/query/{i}"] = prediction.queries[0, part]
            found[f"{stream}/mask_logits/{i}"] = logits[part]
            found[f"{stream}/class_logits/{i}"] = classes[0, part]
            if i == len(predictions) - 1:
                found[f"{stream}/embedding"] = normed[0, part]
    for layer in range(model.config.decoder_layers):
        refined: Queries = steps[f"step/{4 * layer + 1 if layer else 0}"]
        found[f"prompt/proca/{layer}"] = refined.group("prompt")[0]
    found["layer0/cross_attention"] = steps["step/2"].content[0]
    found["layer0/self_attention"] = steps["step/3"].content[0]
    return found


def spoken(prompts: Prompts) -> dict[str, Tensor]:
    tokens = prompts.memory.tokens[0]
    return {
        "prompt/initial_position": prompts.position[0].expand_as(prompts.content[0]),
        "prompt/initial_query": prompts.content[0],
        "prompt/tokens": tokens.transpose(1, 2),
    }


def run_decoder(case: dict[str, Any]) -> dict[str, Tensor]:
    model, given = model_of(case), inputs_of(case)
    levels = {stride: given[f"features/{stride}"][None] for stride in STRIDES}
    levels[MASK_STRIDE] = given["mask_features"][None]
    context = model.decoder.context(levels, model.times(case["frame_indices"]))
    kind = case["prompts"]["kind"]
    tokens = given["prompt_tokens"].transpose(1, 2)
    places = given.get("prompt_token_position")
    if places is not None:
        places = places.transpose(1, 2)
    for prompt, token in case["zero_tokens"]:
        tokens[prompt, :, token] = 0
        if places is not None:
            places[prompt, :, token] = 0
    query = given["prompt_query"]
    prompts = Prompts(
        query[None],
        given.get("prompt_position", query)[None],
        Memory(tokens[None], None if places is None else places[None]),
    )
    found = decode(model, context, levels[MASK_STRIDE], prompts, kind, given.get("sentence"))
    return context_stages(context) | found


def mask_of(about: dict[str, Any] | None, height: int, width: int) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    if about is None:
        return mask
    if ellipse := about.get("ellipse"):
        made = parity.fill_module().masks(ellipse["seed"], ellipse["objects"], height, width)
        return torch.from_numpy(made[ellipse["index"]])
    y0, y1, x0, x1 = about["rectangle"]
    mask[y0:y1, x0:x1] = True
    return mask


def remember(
    model: UniVS, memory: PromptMemory, case: dict[str, Any], start: int, frame: int
) -> None:
    """Sample all objects in one frame, by the features of the clip that begins at ``start``."""
    frames = parity.clip(case)[start : start + case["config"]["clip_frames"]]
    levels = model.extract(frames.permute(0, 3, 1, 2)[None])
    indices = range(start, start + len(frames))
    context = model.decoder.context(levels, model.times(indices))
    level, grid = context.levels[8], levels[8].shape[-2:]
    masks = torch.stack([mask_of(by_frame[frame], *case["padded"]) for by_frame in case["masks"]])
    tokens = model.sampler(memory.num_tokens).masks(
        level.tokens[0, frame - start].unflatten(0, grid),
        level.positions[frame - start].unflatten(0, grid),
        masks,
        time=frame_time(frame - start, len(frames), model.times(indices)),
    )
    for n, mask in enumerate(masks):
        if mask.any():
            memory.write(n, frame, tokens.features[n], tokens.positions[n])


def fill_memory(model: UniVS, case: dict[str, Any]) -> PromptMemory:
    """The memory after the clips up to that of the case."""
    config, start = case["config"], case["frame_indices"][0]
    length = config["clip_frames"]
    memory = PromptMemory(
        num_tokens=config["tokens_per_prompt"],
        num_frames=max(config["memory_frames"], length),
        official_compat=True,
    )
    memory.advance(length)
    for n, first in enumerate(case["first_appear_frame"]):
        memory.add(n, first)
    remember(model, memory, case, 0, 0)
    for begin in range(1, start + 1):
        memory.advance(begin + length)
        for frame in range(begin, begin + length - 1):
            remember(model, memory, case, begin, frame)
    return memory


def run_network(case: dict[str, Any]) -> dict[str, Tensor]:
    model = model_of(case)
    kind = case["task"].removeprefix("network/")
    indices = case["frame_indices"]
    frames = parity.clip(case).permute(0, 3, 1, 2)[None, indices]
    with watched(model) as steps:
        levels = model.extract(frames)
        found = {f"backbone/{s}": x[0] for s, x in steps["backbone"].items()}
    found |= {f"pixel_decoder/{stride}": levels[stride][0] for stride in STRIDES}
    found["mask_features"] = levels[MASK_STRIDE][0]
    context = model.decoder.context(levels, model.times(indices))
    sentences = None
    if kind == "visual":
        memory = fill_memory(model, case)
        prompts = model.prompts.visual(memory, indices[0], len(indices))
        found["prompt/initial_query"] = prompts.content[0]
        found["prompt/initial_position"] = prompts.position[0]
        for name, tokens in zip(("tokens", "token_position"), memory.tokens(), strict=True):
            found[f"prompt/{name}"] = tokens[:, :, None].expand(-1, -1, len(indices), -1)
        pool = memory.clip(0, memory.end)
        for name, tokens in zip(("tokens", "positions"), pool, strict=True):
            found[f"pool/{name}"] = tokens.transpose(1, 2)
    else:
        if kind == "grounding":
            given = inputs_of(case)
            sentences = given["sentence_features"]
            features = torch.cat((sentences[:, None], given["word_features"]), dim=1)
        else:
            features = class_table()[slice(*case["category_rows"]), None]
        prompts = model.prompts.spoken(features, context, kind)
        found |= spoken(prompts) | language_stages(model, features, prompts, context)
    decoded = decode(model, context, levels[MASK_STRIDE], prompts, kind, sentences)
    return found | context_stages(context) | decoded


def language_stages(
    model: UniVS, features: Tensor, prompts: Prompts, context: DecoderContext
) -> dict[str, Tensor]:
    assert model.prompts.language_to_image is not None
    tokens = model.prompts.text_projection(features).flatten(0, 1)
    found = {
        "lang2vision/input": tokens[:, None].expand(-1, prompts.content.shape[2], -1),
        "lang2vision/output": prompts.memory.tokens[0].transpose(1, 2).flatten(0, 1),
    }
    levels = [context.levels[stride] for stride in STRIDES]
    weights = model.prompts.language_to_image.weights(tokens[None], levels)
    return found | scaled_weights(weights, features.shape[1], "lang2vision/")


def scaled_weights(weights: tuple[Tensor, ...], length: int, prefix: str) -> dict[str, Tensor]:
    """The maps of the sentence tokens; the grids are 4 x 6, 8 x 12 and 16 x 24."""
    return {
        f"{prefix}scaled_weights/{stride}": maps[0, ::length].unflatten(-1, (128 // stride, -1))
        for stride, maps in zip(STRIDES, weights, strict=True)
    }


@torch.no_grad()
def stage_errors(identifier: str) -> dict[str, float]:
    """Relative error of each stage of a case."""
    case = parity.case(NETWORK, identifier)
    found = RUNS[case["task"].partition("/")[0]](case)
    stages = case["stages"]
    return {stage: parity.compare(stage, found[stage], stages[stage]) for stage in stages}


@pytest.mark.parametrize("identifier", [*cases("decoder/"), *cases("network/")])
def test_stages_match_the_official_network(identifier: str) -> None:
    errors = stage_errors(identifier)
    assert not {stage: error for stage, error in errors.items() if not error <= TOLERANCE}


@torch.no_grad()
@pytest.mark.parametrize("identifier", cases("decoder/grounding") + cases("network/grounding"))
def test_expressions_lean_on_the_same_learnable_queries(identifier: str) -> None:
    case = parity.case(NETWORK, identifier)
    model = model_of(case)
    found = RUNS[case["task"].partition("/")[0]](case)
    head = model.predict.mask_head
    assert isinstance(head, GroundedMaskEmbedding)
    for i, want in enumerate(case["averaged_with_learnable"]["index_per_prediction"]):
        streams = (found[f"{s}/query/{i}"][None] for s in ("prompt", "learnable"))
        assert head.nearest(*map(model.predict.norm, streams))[0].tolist() == want


def run_unit(case: dict[str, Any]) -> dict[str, Tensor]:
    args, kind = case["args"], case["task"].removeprefix("unit/")
    if kind == "positions":
        return position_stages(args)
    given = inputs_of(case)
    if kind == "language_to_image":
        return language_unit(case, given)
    features, positions = (given[n].permute(1, 2, 0) for n in ("features", "position"))
    sampler = VisualSampler(
        args["tokens_per_prompt"], permutation=permutation, official_compat=True
    )
    absolute = [args["key_frame_index"]] * args["frames"]
    time = frame_time(
        args["key_frame"], args["frames"], absolute if args["position"] == "ArbitraryT" else None
    )
    if kind == "mask_prompts":
        masks = torch.stack([mask_of(about, *args["image"]) for about in args["masks"]])
        points = torch.stack([mask_point(mask, permutation) for mask in masks])
        tokens = sampler.masks(features, positions, masks, time=time)
    elif kind == "point_prompts":
        points = torch.tensor(args["points"])
        tokens = sampler.points(features, points, time=time)
        points = points.where(points >= 0, 0)
    else:
        boxes = torch.tensor(args["boxes"])
        points = (boxes[:, :2] + boxes[:, 2:]) / 2
        tokens = sampler.boxes(features, positions, boxes, time=time)
    repeated = [x[:, :, None].expand(-1, -1, args["frames"], -1) for x in tokens]
    return {"point": points, "tokens": repeated[0], "token_position": repeated[1]}


def position_stages(args: dict[str, Any]) -> dict[str, Tensor]:
    shape, found = (args["frames"], args["height"], args["width"]), {}
    points = torch.tensor(args["points"])
    for name, indices in {"arbitrary": args["frame_indices"], "fixed": None}.items():
        times = [frame_time(t, args["frames"], indices) for t in range(args["frames"])]
        grid = sine_position_3d(*shape, 256, frame_indices=indices)
        found[f"{name}/map"] = grid.permute(0, 3, 1, 2)
        found[f"{name}/points"] = torch.stack([point_position(points, t, 256) for t in times])
    return found


def language_unit(case: dict[str, Any], given: dict[str, Tensor]) -> dict[str, Tensor]:
    attention = model_of(case).prompts.language_to_image
    assert attention is not None
    memories = (given[f"memory/{stride}"].transpose(0, 1)[None] for stride in STRIDES)
    levels = [Level(tokens, tokens[0], tokens) for tokens in memories]
    tokens = given["prompt"][None]
    found = {"output": attention(tokens, levels)[0]}
    return found | scaled_weights(attention.weights(tokens, levels), case["args"]["length"], "")


RUNS = {"decoder": run_decoder, "network": run_network, "unit": run_unit}


@pytest.mark.parametrize("identifier", cases("unit/"))
def test_units_match_the_official_ones(identifier: str) -> None:
    errors = stage_errors(identifier)
    assert not {stage: error for stage, error in errors.items() if not error <= UNIT_TOLERANCE}
