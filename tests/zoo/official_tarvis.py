"""A slow transcription of the published TarViS network, from neck to predictions.

It is written from the description of the official code, in its names and its order, with one
attention a query and one key a pixel: an oracle for whatever the recorded activations do not cover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (32, 16, 8)
NECK, DECODER, ENCODER = "backbone.fpn.", "decoder.", "vos_query_extractor."


class Result(NamedTuple):
    """Query states, mask logits and class logits of each prediction, background first."""

    states: list[Tensor]
    masks: list[Tensor]
    classes: list[Tensor | None]
    types: dict[str, slice]


def code(positions: Tensor, num_features: int) -> Tensor:
    """Interleaved sines and cosines, feature by feature."""
    columns = []
    for i in range(num_features):
        angle = positions / 10000 ** (2 * (i // 2) / num_features)
        columns.append(angle.sin() if i % 2 == 0 else angle.cos())
    return torch.stack(columns, -1)


def axis(length: int, *, normalised: bool = True) -> Tensor:
    ordinal = torch.arange(1, length + 1, dtype=torch.float64)
    return ordinal / (length + 1e-6) * 2 * math.pi if normalised else ordinal


class OfficialTarViS:
    """The network as functions of an official state dict, in float64.

    Args:
        state_dict: official names.
        num_heads: M.
    """

    def __init__(self, state_dict: Mapping[str, Tensor], num_heads: int) -> None:
        self.p = {name: value.double() for name, value in state_dict.items()}
        self.num_heads = num_heads
        self.dim = self.p[f"{NECK}transformer.level_embed"].shape[1]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (self.dim,), self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def group_norm(self, x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 32, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def feed_forward(self, x: Tensor, first: str, second: str, norm: str) -> Tensor:
        return self.norm(x + self.linear(self.linear(x, first).relu(), second), norm)

    def attention(
        self, name: str, q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None = None
    ) -> Tensor:
        """Queries (n, C), keys and values (m, C); blocked (n, m)."""
        weight, bias = self.p[f"{name}.in_proj_weight"], self.p[f"{name}.in_proj_bias"]
        parts = zip((q, k, v), weight.chunk(3), bias.chunk(3), strict=True)
        q, k, v = (x @ w.T + b for x, w, b in parts)
        heads = []
        for qh, kh, vh in zip(*(x.chunk(self.num_heads, -1) for x in (q, k, v)), strict=True):
            affinity = qh @ kh.T / math.sqrt(qh.shape[-1])
            if blocked is not None:
                affinity = affinity.masked_fill(blocked, -math.inf)
            heads.append(affinity.softmax(-1) @ vh)
        return self.linear(torch.cat(heads, -1), f"{name}.out_proj")

    def plane(self, height: int, width: int, *, normalised: bool = True) -> Tensor:
        y = code(axis(height, normalised=normalised), self.dim // 2)
        x = code(axis(width, normalised=normalised), self.dim // 2)
        return torch.cat((y[:, None].expand(-1, width, -1), x[None].expand(height, -1, -1)), dim=-1)

    def volume(self, frames: int, height: int, width: int) -> Tensor:
        return self.plane(height, width) + code(axis(frames), self.dim)[:, None, None]

    def neck(self, pyramid: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Backbone maps (T, C_s, h, w) to the neck's maps (T, C, h, w)."""
        maps = []
        for level, stride in enumerate(STRIDES):
            name = f"{NECK}input_proj.{level}."
            x = F.conv2d(pyramid[stride], self.p[f"{name}0.weight"], self.p[f"{name}0.bias"])
            maps.append(self.group_norm(x, f"{name}1"))
        shapes = [tuple(x.shape[-2:]) for x in maps]
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1)
        layer = 0
        while f"{NECK}transformer.encoder.layers.{layer}.norm1.weight" in self.p:
            tokens = self.deformable_layer(tokens, shapes, layer)
            tokens = self.temporal_layer(tokens, shapes, layer)
            layer += 1
        parts = tokens.split([h * w for h, w in shapes], 1)
        out = {
            stride: part.transpose(1, 2).unflatten(2, shape)
            for stride, part, shape in zip(STRIDES, parts, shapes, strict=True)
        }
        x = F.conv2d(pyramid[4], self.p[f"{NECK}adapter_1.weight"])
        x = self.group_norm(x, f"{NECK}adapter_1.norm")
        x = x + F.interpolate(out[8], size=x.shape[-2:], mode="bilinear")
        x = F.conv2d(x, self.p[f"{NECK}layer_1.weight"], padding=1)
        x = self.group_norm(x, f"{NECK}layer_1.norm").relu()
        name = f"{NECK}mask_features"
        out[4] = F.conv2d(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])
        return out

    def deformable_layer(self, tokens: Tensor, shapes: Sequence, layer: int) -> Tensor:
        name = f"{NECK}transformer.encoder.layers.{layer}."
        embed = self.p[f"{NECK}transformer.level_embed"]
        planes = [self.plane(*s).flatten(0, 1) + embed[i] for i, s in enumerate(shapes)]
        query = tokens + torch.cat(planes)
        frames, length, _ = tokens.shape
        shape = (frames, length, self.num_heads, 3, -1)
        offsets = self.linear(query, f"{name}self_attn.sampling_offsets").view(*shape, 2)
        weights = self.linear(query, f"{name}self_attn.attention_weights")
        weights = weights.view(*shape[:3], -1).softmax(-1).view(shape)
        value = self.linear(tokens, f"{name}self_attn.value_proj")
        centres = torch.cat([_centres(*s) for s in shapes])
        gathered = torch.zeros_like(tokens)
        heads = gathered.view(frames, length, self.num_heads, -1)
        levels = value.split([h * w for h, w in shapes], 1)
        for level, ((h, w), part) in enumerate(zip(shapes, levels, strict=True)):
            scale = torch.tensor([w, h], dtype=torch.float64)
            where = 2 * (centres[None, :, None, None] + offsets[:, :, :, level] / scale) - 1
            grids = part.view(frames, h, w, self.num_heads, -1).permute(3, 0, 4, 1, 2)
            for head in range(self.num_heads):
                points = F.grid_sample(grids[head], where[:, :, head], align_corners=False)
                points = (points * weights[:, None, :, head, level]).sum(-1)
                heads[:, :, head] += points.transpose(1, 2)
        attended = self.linear(gathered, f"{name}self_attn.output_proj")
        tokens = self.norm(tokens + attended, f"{name}norm1")
        return self.feed_forward(tokens, f"{name}linear1", f"{name}linear2", f"{name}norm2")

    def temporal_layer(self, tokens: Tensor, shapes: Sequence, layer: int) -> Tensor:
        name = f"{NECK}transformer.encoder.temporal_layers.{layer}."
        embed = self.p[f"{NECK}transformer.level_embed_3d"]
        frames = len(tokens)
        volumes = [self.volume(frames, *s).flatten(1, 2) + embed[i] for i, s in enumerate(shapes)]
        placed, out = tokens + torch.cat(volumes, 1), tokens.clone()
        for row in range(shapes[0][0] // 2):
            for column in range(shapes[0][1] // 2):
                cell = torch.tensor(_cell(shapes, row, column))
                keys = placed[:, cell].flatten(0, 1)
                attended = self.attention(
                    f"{name}self_attn", keys, keys, tokens[:, cell].flatten(0, 1)
                )
                out[:, cell] += attended.view(frames, len(cell), -1)
        out = self.norm(out, f"{name}norm1")
        return self.feed_forward(out, f"{name}linear1", f"{name}linear2", f"{name}norm2")

    def encode(
        self,
        maps: Mapping[int, Tensor],
        frames: Sequence[int],
        masks: Sequence[Tensor],
        points: Sequence[tuple[int, int, int]] = (),
        queries_per_object: int = 8,
    ) -> tuple[Tensor, Tensor]:
        """Background and object queries.

        Args:
            maps: of the neck.
            frames: the reference frames.
            masks: each object's, (R, H, W) over the reference frames, at padded size.
            points: (frame, x, y) of each point object.
            queries_per_object: of a mask object.
        """
        finest = maps[4][list(frames)]
        plane = self.plane(*finest.shape[-2:], normalised=False)
        regions = _background(masks, (len(frames), *(4 * s for s in finest.shape[-2:])))
        types = ["bg_query_embed"] * len(regions)
        for mask in masks:
            pixels = mask.nonzero()
            if len(pixels) < queries_per_object:
                pixels = pixels.repeat(math.ceil(queries_per_object / len(pixels)), 1)
            regions += list(torch.tensor_split(pixels, queries_per_object))
            types += ["mask_object_query_embed"] * queries_per_object
        sets, initial = [], []
        for region in regions:
            values = places = torch.zeros(1, self.dim, dtype=torch.float64)
            if len(region):
                t, y, x = region.T
                values, places = finest[t, :, y // 4, x // 4], plane[y // 4, x // 4]
            sets.append((values + places, values))
            initial.append(values.mean(0))
        for t, x, y in points:
            levels = [maps[s][t, :, y // s, x // s] for s in (*STRIDES, 4)]
            tokens = torch.stack(
                [
                    self.linear(value, f"{ENCODER}proj_point_features.{i}")
                    for i, value in enumerate(levels)
                ]
            )
            sets.append((tokens + plane[y // 4, x // 4], tokens))
            initial.append(self.mlp(torch.cat(levels), f"{ENCODER}point_vos_query_extractor", 2))
            types.append("point_object_query_embed")
        return self._refine(torch.stack(initial), types, sets)

    def _refine(self, x: Tensor, types: list[str], sets: list) -> tuple[Tensor, Tensor]:
        embed = torch.stack([self.p[f"{ENCODER}{name}"] for name in types])
        layer = 0
        while f"{ENCODER}ffn_layers.{layer}.norm.weight" in self.p:
            self_, cross, ffn = (
                f"{ENCODER}{kind}_layers.{layer}" for kind in ("self_attn", "cross_attn", "ffn")
            )
            attended = self.attention(f"{self_}.attn", x + embed, x + embed, x)
            x = self.norm(x + attended, f"{self_}.norm")
            attended = torch.cat(
                [
                    self.attention(f"{cross}.attn", query[None], keys, values)
                    for query, (keys, values) in zip(x + embed, sets, strict=True)
                ]
            )
            x = self.norm(x + attended, f"{cross}.norm")
            x = self.feed_forward(x, f"{ffn}.mlp.0", f"{ffn}.mlp.2", f"{ffn}.norm")
            layer += 1
        background = types.count("bg_query_embed")
        return x[:background], x[background:]

    def mlp(self, x: Tensor, name: str, step: int) -> Tensor:
        for layer in range(3):
            x = self.linear(x, f"{name}.layers.{step * layer}")
            x = x.relu() if layer < 2 else x
        return x

    def decode(self, maps: Mapping[int, Tensor], parts: Sequence[tuple[str, Tensor]]) -> Result:
        """Refine queries, given as (official type, content), and predict on the way."""
        x = torch.cat([content for _, content in parts])
        types, start = {}, 0
        for name, content in parts:
            types[name] = slice(start, start + len(content))
            start += len(content)
        embed = torch.cat(
            [
                self.p[f"embedding_container._{name}_queries"][:1].expand(len(content), -1)
                for name, content in parts
            ]
        )
        result = Result([], [], [], types)
        self._predict(x, maps, result)
        layer = 0
        while f"{DECODER}transformer_ffn_layers.{layer}.norm.weight" in self.p:
            stride = STRIDES[layer % 3]
            keys, values = self._memory(maps[stride], layer % 3)
            size = (len(maps[4]), *maps[stride].shape[-2:])
            mask = F.interpolate(result.masks[-1][None], size=size, mode="trilinear")[0]
            blocked = mask.flatten(1).sigmoid() < 0.5
            blocked[blocked.all(1)] = False
            name = f"{DECODER}transformer_cross_attention_layers.{layer}"
            attended = self.attention(
                f"{name}.multihead_attn._attn", x + embed, keys, values, blocked
            )
            x = self.norm(x + attended, f"{name}.norm")
            name = f"{DECODER}transformer_self_attention_layers.{layer}"
            attended = self.attention(f"{name}.self_attn", x + embed, x + embed, x)
            x = self.norm(x + attended, f"{name}.norm")
            name = f"{DECODER}transformer_ffn_layers.{layer}"
            x = self.feed_forward(x, f"{name}.linear1", f"{name}.linear2", f"{name}.norm")
            self._predict(x, maps, result)
            layer += 1
        return result

    def _memory(self, level: Tensor, index: int) -> tuple[Tensor, Tensor]:
        frames, _, height, width = level.shape
        values = level.permute(0, 2, 3, 1) + self.p[f"{DECODER}scale_embed.weight"][index]
        keys = values + self.volume(frames, height, width)
        return keys.flatten(0, 2), values.flatten(0, 2)

    def _predict(self, x: Tensor, maps: Mapping[int, Tensor], result: Result) -> None:
        normed = self.norm(x, f"{DECODER}decoder_norm")
        embeddings = torch.cat(
            [
                self.mlp(normed[part], f"{DECODER}mask_embeds.{name}", 1)
                for name, part in result.types.items()
            ]
        )
        result.states.append(x)
        result.masks.append(torch.einsum("qc,tchw->qthw", embeddings, maps[4]))
        if "semantic" not in result.types:
            result.classes.append(None)
            return
        projected = {
            name: self.linear(normed[result.types[name]], f"{DECODER}proj_layers.{name}")
            for name in ("instance", "background", "semantic")
        }
        background = projected["instance"] @ projected["background"].T
        classes = projected["instance"] @ projected["semantic"].T
        result.classes.append(torch.cat((background.amax(1, keepdim=True), classes), 1))


def _centres(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(
        (torch.arange(height, dtype=torch.float64) + 0.5) / height,
        (torch.arange(width, dtype=torch.float64) + 0.5) / width,
        indexing="ij",
    )
    return torch.stack((x, y), -1).flatten(0, 1)


def _cell(shapes: Sequence[tuple[int, int]], row: int, column: int) -> list[int]:
    tokens, start = [], 0
    for level, (height, width) in enumerate(shapes):
        side = 2 ** (level + 1)
        tokens += [
            start + (row * side + dy) * width + column * side + dx
            for dy in range(side)
            for dx in range(side)
        ]
        start += height * width
    return tokens


def _background(masks: Sequence[Tensor], size: tuple[int, int, int]) -> list[Tensor]:
    """Pixels of the 4x4 grid's cells that no object covers."""
    _, height, width = size
    covered = torch.zeros(size, dtype=torch.bool)
    for mask in masks:
        covered |= mask
    regions = []
    for row in range(4):
        for column in range(4):
            cell = torch.zeros(size, dtype=torch.bool)
            ys = slice(row * height // 4, (row + 1) * height // 4)
            cell[:, ys, column * width // 4 : (column + 1) * width // 4] = True
            regions.append((cell & ~covered).nonzero())
    return regions
