"""The descriptor: its definition, what changes it and what does not, and the masks at the edge."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.nn import ShapePositionDescriptor, descriptor_change
from tests.nn.outlines import NAMES, SIZE, draw

MASS = 200 / 16
RECOMMENDED = ShapePositionDescriptor()
LITERAL = ShapePositionDescriptor(reading="literal")
# The variant that most figures of the literal reading are for: without erased anchors.
SPARED = ShapePositionDescriptor(reading="literal", conflict="empty")


def histogram(mask: Tensor, descriptor: ShapePositionDescriptor = RECOMMENDED) -> Tensor:
    return descriptor(mask).histogram


def change(a: Tensor, b: Tensor, descriptor: ShapePositionDescriptor = RECOMMENDED) -> float:
    return float(descriptor_change(histogram(a, descriptor), histogram(b, descriptor)))


def mean_change(descriptor: ShapePositionDescriptor, scale: float = 0.5, **other: Any) -> float:
    values = {"scale": scale} | other
    changes = [change(draw(name, scale), draw(name, **values), descriptor) for name in NAMES]
    return sum(changes) / len(changes)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.sampled_from(["recommended", "literal"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["image", "diagonal", "max", "mean"]),
)
def test_the_anchors_always_weigh_the_same(
    bits: int, reading: Any, soft: bool, log_radius: bool, radius: Any
) -> None:
    mask = torch.tensor([bits >> i & 1 for i in range(63)]).bool().view(7, 9)
    descriptor = ShapePositionDescriptor(
        reading=reading, conflict="empty", soft=soft, log_radius=log_radius, radius=radius
    )
    shape = descriptor(mask)
    assert bool(shape.valid) == (int(mask.sum()) >= 4)
    mass = float(shape.histogram.clamp(min=0).sum())
    assert mass == pytest.approx(MASS if shape.valid else 0)
    assert shape.valid or not (shape.histogram.any() or shape.vector.any())


@pytest.mark.parametrize("soft", [False, True])
def test_bins_by_hand(soft: bool) -> None:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[4:12, 6:18] = True
    descriptor = ShapePositionDescriptor(
        16, soft=soft, angles=8, radii=4, anchors=40, negatives="none"
    )
    centre, reach = (12.0, 8.0), math.hypot(20, 30) / 2
    pieces = [(x, y, 1.0) for x in range(7, 18) for y in (4, 12)]
    pieces += [(x, y, 1.0) for y in range(5, 12) for x in (6, 18)]
    pieces += [
        (x + dx, y + dy, math.sqrt(0.5))
        for x, dx in ((6, 0.25), (18, -0.25))
        for y, dy in ((4, 0.25), (12, -0.25))
    ]
    want = torch.zeros(8, 4, dtype=torch.float64)
    for x, y, length in pieces:
        angle = math.atan2(y - centre[1], x - centre[0]) / (2 * math.pi) % 1 * 8
        ring = math.dist((x, y), centre) / reach * 4
        if not soft:
            want[int(angle), int(ring)] += length
            continue
        for i in range(8):
            for j in range(4):
                turn = min(abs(angle - i - 0.5), 8 - abs(angle - i - 0.5))
                away = abs(min(max(ring, 0.5), 3.5) - j - 0.5)
                want[i, j] += length * max(0, 1 - turn) * max(0, 1 - away)
    want *= 40 / 4 / want.sum()
    torch.testing.assert_close(histogram(mask, descriptor), want.float())


def test_a_disc_is_one_ring_the_same_at_all_angles() -> None:
    hard = ShapePositionDescriptor(soft=False, angles=8, negatives="none")
    found = histogram(draw("disc", 0.6), hard)
    assert found.nonzero()[:, 1].unique().tolist() == [int(36 / (math.hypot(SIZE, SIZE) / 2) * 12)]
    torch.testing.assert_close(found.sum(1), torch.full((8,), MASS / 8), rtol=0.06, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_marked_and_traced_agree(name: str) -> None:
    pytest.importorskip("skimage")
    traced = ShapePositionDescriptor(contour="traced")
    for scale, at in ((0.27, (128, 128)), (0.5, (100.3, 140.8)), (0.8, (20.0, 30.0))):
        mask = draw(name, scale, at)
        a, b = histogram(mask), histogram(mask, traced)
        # The reference allows 0.25 above 32 pixels across.
        assert float(descriptor_change(a, b)) < 0.06
        assert ((a < 0) == (b < 0)).float().mean() > 0.99
        assert float(b.clamp(min=0).sum()) == pytest.approx(MASS, rel=1e-6)


def test_marked_and_traced_agree_on_parts_and_holes() -> None:
    pytest.importorskip("skimage")
    mask = draw("disc", 0.5, (70, 90)) | draw("star", 0.4, (180, 150))
    mask &= ~draw("disc", 0.2, (70, 90))
    mask[5, 5] = True  # a speck
    traced = ShapePositionDescriptor(contour="traced")
    assert change(mask, mask) == 0
    assert float(descriptor_change(histogram(mask), histogram(mask, traced))) < 0.03
    outlines = ShapePositionDescriptor(contour="traced", holes=False)
    assert float(descriptor_change(histogram(mask), histogram(mask, outlines))) > 0.1


@pytest.mark.parametrize("step", [(10, 0), (0, 60), (-37, 23)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("radius", ["max", "mean", "image"])
def test_shifts_by_whole_pixels_change_no_bit_of_the_literal_reading(
    step: tuple[int, int], soft: bool, radius: Any
) -> None:
    descriptor = ShapePositionDescriptor(reading="literal", soft=soft, radius=radius)
    for name in NAMES:
        mask = draw(name, 0.4)
        moved = mask.roll(step, (1, 0))
        assert torch.equal(histogram(mask, descriptor), histogram(moved, descriptor))


def test_shifts_change_the_recommended_reading_little_by_little() -> None:
    shifts = [mean_change(RECOMMENDED, at=(128 + s, 128)) for s in (2.3, 10, 25.5, 60)]
    assert shifts == pytest.approx([0.09, 0.11, 0.21, 0.29], abs=0.02)
    for name in NAMES:
        mask, moved = draw(name), draw(name).roll((10, -60), (0, 1))
        positives = [histogram(m).clamp(min=0) for m in (mask, moved)]
        assert torch.equal(*positives)
        assert not torch.equal(histogram(mask), histogram(moved))


def test_shifts_by_parts_of_a_pixel_are_noise_in_the_literal_reading() -> None:
    assert mean_change(SPARED, at=(153.5, 128)) == pytest.approx(0.27, abs=0.06)
    soft = ShapePositionDescriptor(reading="literal", conflict="empty", soft=True)
    assert mean_change(soft, at=(153.5, 128)) == pytest.approx(0.15, abs=0.05)


def test_scale_is_noise_in_the_literal_reading_and_counts_in_the_recommended() -> None:
    sizes = (0.45, 0.4, 0.25)
    noise = [sum(change(draw(n), draw(n, s), SPARED) for n in NAMES) / len(NAMES) for s in sizes]
    assert max(noise) < 0.55
    real = [sum(change(draw(n), draw(n, s)) for n in NAMES) / len(NAMES) for s in sizes]
    assert real == pytest.approx([0.24, 0.47, 0.96], abs=0.05)


def test_a_rotation_rolls_the_angles() -> None:
    for degrees, rolled in ((10, 1), (90, 9)):
        mask, turned = (draw("ellipse", 1.5, degrees=d) for d in (0, degrees))
        a, b = (histogram(m, SPARED) for m in (mask, turned))
        assert float(descriptor_change(a, b)) > 0.9
        assert float(descriptor_change(a.roll(rolled, 0), b)) < 0.35
    positives = [histogram(draw("star", 1.2, degrees=d)).clamp(min=0) for d in (0, 10)]
    assert float(descriptor_change(positives[0].roll(1, 0), positives[1])) < 0.1
    assert float(descriptor_change(*positives)) > 0.3


@pytest.mark.parametrize("descriptor", [LITERAL, RECOMMENDED], ids=["literal", "recommended"])
def test_turns_of_the_raster_are_maps_of_the_bins(descriptor: ShapePositionDescriptor) -> None:
    soft = ShapePositionDescriptor(reading="literal", soft=True, conflict="empty")
    descriptor = soft if descriptor is LITERAL else descriptor
    mask = draw("star", 0.7, (90.3, 150.2), degrees=13)
    found = histogram(mask, descriptor)
    flipped = (17 - torch.arange(36)) % 36
    near = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(histogram(mask.flip(1), descriptor), found[flipped], **near)
    torch.testing.assert_close(histogram(mask.flip(0, 1), descriptor), found.roll(18, 0), **near)
    torch.testing.assert_close(
        histogram(mask.rot90(-1, (0, 1)), descriptor), found.roll(9, 0), **near
    )


def test_no_rotation_is_invariant() -> None:
    assert change(draw("rectangle", degrees=5), draw("rectangle", degrees=95)) > 0.3


def test_a_thicker_boundary_is_noise_in_the_literal_reading() -> None:
    spared, override = [], []
    for name in NAMES:
        mask = draw(name, 1.0)
        thick = F.max_pool2d(mask[None].float(), 3, 1, 1)[0] > 0
        spared.append(change(mask, thick, SPARED))
        override.append(change(mask, thick, LITERAL))
    assert max(spared) < 0.5
    assert sum(override) > sum(spared)


def test_different_shapes_differ() -> None:
    others = [n for n in NAMES if n != "triangle"]
    for descriptor, low, high in ((SPARED, 1.1, 1.6), (RECOMMENDED, 0.55, 0.85)):
        changes = [change(draw("triangle"), draw(n), descriptor) for n in others]
        assert low < sum(changes) / 3 < high


def test_a_mask_cut_by_the_frame_has_a_contour_there() -> None:
    assert mean_change(RECOMMENDED, at=(0.0, 128.0)) > 0.6
    full = torch.ones(64, 64, dtype=torch.bool)
    assert float(histogram(full).clamp(min=0).sum()) == pytest.approx(MASS)


def test_negative_bins_lie_outside() -> None:
    masks = torch.stack([draw(name) for name in NAMES])
    negative = {
        name: float((histogram(masks, ShapePositionDescriptor(**options)) < 0).sum()) / len(masks)
        for name, options in {
            "canvas": {},
            "literal": {"reading": "literal", "conflict": "empty"},
            "mask, image": {"negatives": "mask"},
            "none": {"negatives": "none"},
        }.items()
    }
    assert negative["canvas"] == 88
    assert negative["literal"] == pytest.approx(104, abs=15)
    assert negative["mask, image"] > 330
    assert negative["none"] == 0
    assert histogram(masks).min() == -1 / 16


def test_bins_with_anchors_and_outside_follow_the_rule() -> None:
    rules = {
        rule: histogram(draw("star"), ShapePositionDescriptor(reading="literal", conflict=rule))
        for rule in ("empty", "override", "add")
    }
    mass = {rule: float(h.clamp(min=0).sum()) for rule, h in rules.items()}
    assert mass["override"] < 0.8 * mass["empty"]
    assert mass["override"] < mass["add"] < mass["empty"]
    assert float(rules["add"].sum()) == pytest.approx(
        MASS - int((rules["override"] < 0).sum()) / 16, rel=1e-5
    )


def test_interpolation_is_linear_without_aligned_corners() -> None:
    found = RECOMMENDED(draw("star"))
    flat = found.histogram.flatten()[None, None]
    want = F.interpolate(flat, 256, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(found.vector, want)
    same = ShapePositionDescriptor(48, angles=12, radii=4)(draw("star"))
    torch.testing.assert_close(same.vector, same.histogram.flatten())
    assert ShapePositionDescriptor(256, angles=12, radii=6)(draw("star")).vector.shape == (256,)
    weights = RECOMMENDED.interpolate(torch.eye(432).view(432, 36, 12))
    torch.testing.assert_close(weights.sum(0), torch.ones(256))
    assert 0.3 < float(weights.sum(1).min()) <= float(weights.sum(1).max()) < 1


def test_change_by_hand() -> None:
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]])
    assert float(descriptor_change(a, a)) == 0
    assert float(descriptor_change(a, b)) == pytest.approx(4 / 5)
    assert float(descriptor_change(b, a)) == pytest.approx(4 / 3)
    assert float(descriptor_change(a, b, symmetric=True)) == pytest.approx(1.0)
    nothing = torch.zeros(1, 2)
    assert descriptor_change(torch.stack((a, nothing)), nothing).tolist() == [math.inf, math.inf]
    assert descriptor_change(a[None], torch.stack((a, b))).shape == (2,)


def test_tiny_masks() -> None:
    masks = torch.zeros(4, 32, 32, dtype=torch.bool)
    masks[1, 7, 9] = True
    masks[2, 7, 9:13] = True
    masks[3, 7:9, 9:11] = True
    assert RECOMMENDED(masks).valid.tolist() == [False, False, True, True]
    single = ShapePositionDescriptor(min_area=1, negatives="none")(masks[1])
    assert float(single.histogram[:, 0].sum()) == pytest.approx(MASS)
    assert RECOMMENDED(masks[:0]).vector.shape == (0, 256)
    traced = ShapePositionDescriptor(contour="traced")(masks[:2])
    assert traced.valid.tolist() == [False, False]


def test_what_lies_in_the_padding_does_not_count() -> None:
    mask = draw("disc", 0.5, (100, 100))
    padded = F.pad(mask, (0, 24, 0, 40))
    padded[260:280, :] = True
    assert torch.equal(RECOMMENDED(padded, (256, 256)).histogram, histogram(mask))


def test_a_batch_is_each_by_itself_and_twice_the_same() -> None:
    masks = torch.stack([draw(n, 0.3 + 0.1 * i) for i, n in enumerate(NAMES)]).view(2, 2, 256, 256)
    together = RECOMMENDED(masks)
    assert torch.equal(RECOMMENDED(masks).histogram, together.histogram)
    for i in range(2):
        for j in range(2):
            assert torch.equal(together.histogram[i, j], histogram(masks[i, j]))
            torch.testing.assert_close(together.vector[i, j], RECOMMENDED(masks[i, j]).vector)


def test_it_has_no_state_and_passes_no_gradient() -> None:
    assert not RECOMMENDED.state_dict()
    logits = torch.randn(16, 16, requires_grad=True)
    assert not RECOMMENDED(logits > 0).vector.requires_grad


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="radius must be one of"):
        ShapePositionDescriptor(radius="huge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reading must be one of"):
        ShapePositionDescriptor(reading="loose")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="angles must be at least 1"):
        ShapePositionDescriptor(angles=0)
    with pytest.raises(ValueError, match="holes must be True"):
        ShapePositionDescriptor(holes=False)
    with pytest.raises(ValueError, match="masks must be bool"):
        RECOMMENDED(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="canvas must lie within"):
        RECOMMENDED(draw("disc"), (300, 10))


def test_it_describes_in_any_type_of_the_model() -> None:
    masks = torch.zeros(1, 24, 32, dtype=torch.bool)
    masks[0, 5:15, 5:20] = True
    full = ShapePositionDescriptor(16)(masks)
    half = ShapePositionDescriptor(16).to(torch.bfloat16)(masks)
    assert half.vector.dtype == torch.float32
    assert torch.equal(half.histogram, full.histogram)
    assert torch.equal(half.vector, full.vector)
