import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from segblocks.nn import ObjectEncoder, sine_position_2d

DIM, HEADS, STRIDES = 32, 4, (32, 16, 8, 4)


def pyramid(frames: int, height: int, width: int) -> dict[int, Tensor]:
    return {
        s: torch.randn(frames, DIM, height // s, width // s, dtype=torch.float64) for s in STRIDES
    }


def encoder(num_layers: int = 2) -> ObjectEncoder:
    torch.manual_seed(1)
    return ObjectEncoder(DIM, HEADS, num_layers=num_layers, hidden_dim=48).double()


def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Plain attention of one row: q (1, C), k and v (n, C)."""
    q, k, v = module.query(q), module.key(k), module.value(v)
    split = DIM // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * split, (head + 1) * split)
        weights = (q[:, part] @ k[:, part].T / math.sqrt(split)).softmax(-1)
        heads.append(weights @ v[:, part])
    return module.output(torch.cat(heads, -1))


def pixel_lists(masks: Tensor, num_chunks: int, grid: tuple[int, int]) -> list[np.ndarray]:
    """The (t, y, x) of every pixel of every background cell and chunk, with repeats."""
    free = ~masks.any(0).numpy()
    _, height, width = free.shape
    rows, columns = grid
    lists = []
    for row in range(rows):
        for column in range(columns):
            cell = np.zeros_like(free)
            ys = slice(row * height // rows, (row + 1) * height // rows)
            xs = slice(column * width // columns, (column + 1) * width // columns)
            cell[:, ys, xs] = free[:, ys, xs]
            lists.append(np.argwhere(cell))
    for mask in masks.numpy():
        pixels = np.argwhere(mask)
        if len(pixels) < num_chunks:
            pixels = np.tile(pixels, (-(-num_chunks // len(pixels)), 1))
        lists += np.array_split(pixels, num_chunks)
    return lists


def encode_by_hand(
    module: ObjectEncoder, features: dict[int, Tensor], masks: Tensor, num_chunks: int
) -> Tensor:
    """The official procedure: one key a full-resolution pixel, one attention a query."""
    finest = features[4]
    code = sine_position_2d(*finest.shape[-2:], DIM, normalize=False).double()
    sets = []
    for pixels in pixel_lists(masks, num_chunks, module.grid):
        if not len(pixels):
            sets.append((torch.zeros(1, DIM).double(), torch.zeros(1, DIM).double()))
            continue
        t, y, x = torch.from_numpy(pixels).T
        sets.append((finest[t, :, y // 4, x // 4], code[y // 4, x // 4]))
    queries = torch.stack([values.mean(0) for values, _ in sets])
    cells = module.grid[0] * module.grid[1]
    types = torch.stack(
        [module.background_type if n < cells else module.mask_type for n in range(len(sets))]
    )
    for layer in module.layers:
        placed = queries + types
        attended = torch.cat(
            [attention(layer.self_attention, row[None], placed, queries) for row in placed]
        )
        queries = layer.self_norm(queries + attended)
        attended = torch.cat(
            [
                attention(layer.cross_attention, (query + kind)[None], values + codes, values)
                for query, kind, (values, codes) in zip(queries, types, sets, strict=True)
            ]
        )
        queries = layer.feed_forward(layer.cross_norm(queries + attended))
    return queries


@pytest.mark.parametrize("num_chunks", [1, 3, 8])
def test_counted_cells_equal_repeated_pixels(num_chunks: int) -> None:
    features = pyramid(2, 64, 64)
    masks = torch.zeros(3, 2, 64, 64, dtype=torch.bool)
    masks[0, :, 5:37, 3:30] = True
    masks[1, 1, 40, 41:44] = True  # fewer pixels than chunks
    masks[2, :, :17, 40:] = True  # leaves the grid cell in the corner empty
    module = encoder()
    got = module(features, masks, queries_per_object=num_chunks)
    want = encode_by_hand(module, features, masks, num_chunks)
    torch.testing.assert_close(torch.cat((got.background, got.objects)), want)


def test_an_empty_background_cell_attends_to_zeros() -> None:
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, :16, :16] = True
    features = pyramid(1, 64, 64)
    module = encoder()
    got = module(features, masks, queries_per_object=2)
    assert not got.initial[0].any()
    torch.testing.assert_close(
        torch.cat((got.background, got.objects)), encode_by_hand(module, features, masks, 2)
    )


def test_points_read_the_cell_under_them_on_their_own_frame() -> None:
    features = pyramid(2, 64, 128)
    module = encoder()
    points = torch.tensor([[0.0, 0.0], [127.0, 63.0], [37.0, 20.0]], dtype=torch.float64)
    frames = torch.tensor([0, 1, 1])
    got = module(features, points=points, point_frames=frames)
    for number, ((x, y), t) in enumerate(zip(points.long().tolist(), frames, strict=True)):
        read = torch.cat([features[s][t, :, y // s, x // s] for s in STRIDES])
        torch.testing.assert_close(got.initial[16 + number], module.point_query(read))
    changed = {s: f.clone() for s, f in features.items()}
    changed[32][0] += 1  # frame 0 at stride 32 is read by the first point alone
    other = module(changed, points=points, point_frames=frames).initial
    assert not torch.equal(other[16], got.initial[16])
    assert torch.equal(other[17:], got.initial[17:])


def test_masks_come_before_points() -> None:
    features = pyramid(1, 64, 64)
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, 20:30, 20:30] = True
    points = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    got = encoder()(features, masks, points, torch.tensor([0]), queries_per_object=4)
    assert got.objects.shape == (5, DIM)


def test_gradients_reach_features_under_points_only() -> None:
    features = {s: f.requires_grad_() for s, f in pyramid(1, 64, 64).items()}
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, 20:30, 20:30] = True
    encoder()(features, masks, queries_per_object=2).objects[:, 0].sum().backward()
    assert all(f.grad is None for f in features.values())
    points = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    encoder()(features, points=points, point_frames=torch.tensor([0])).objects[
        :, 0
    ].sum().backward()
    assert features[4].grad[0, :, 1, 1].any()
    assert features[4].grad.flatten(2).any(1).sum() == 1


def test_a_draw_of_points_depends_on_its_generator_only() -> None:
    features, masks = pyramid(1, 64, 64), torch.ones(1, 1, 64, 64, dtype=torch.bool)
    module = encoder(1)

    def encode(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return module(features, masks, max_points=50, generator=generator).objects

    assert torch.equal(encode(0), encode(0))
    assert not torch.equal(encode(0), encode(1))


class NotedLists(TorchFunctionMode):
    """Note ``tolist``, which reads memory without an operator."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.tolist:
            self.names.append("tolist")
        return func(*args, **(kwargs or {}))


class HostWaits(TorchDispatchMode):
    """Note each operator whose result, or its size, the host has to read from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.of_lists = NotedLists(self.names)

    def __enter__(self) -> "HostWaits":
        self.of_lists.__enter__()
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self.of_lists.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        reads = name in ("nonzero", "_local_scalar_dense", "masked_select", "equal")
        reads |= "unique" in name or (name == "repeat_interleave" and not (kwargs or {}))
        if name == "index":
            reads |= any(x is not None and x.dtype == torch.bool for x in args[1])
        if reads:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def test_host_waits_are_noticed() -> None:
    mask = torch.tensor([True, False])
    with HostWaits() as waits:
        mask.nonzero(), mask[mask], mask.any().item(), mask.tolist(), mask.unique()
    assert waits.names[0] == "nonzero"
    assert {"nonzero", "index", "_local_scalar_dense", "tolist"} < set(waits.names)


@pytest.mark.parametrize("max_points", [None, 50])
def test_the_host_waits_once_for_all_lists(max_points: int | None) -> None:
    masks = torch.zeros(3, 1, 64, 64, dtype=torch.bool)
    masks[:, 0, 20:50, 10:40] = True
    points = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    features, module = pyramid(1, 64, 64), encoder()
    with HostWaits() as waits:
        module(features, masks, points, torch.tensor([0]), max_points=max_points)
    assert waits.names == ["tolist"]


def test_something_must_be_hinted() -> None:
    with pytest.raises(ValueError, match="masks or points must be given"):
        encoder()(pyramid(1, 64, 64))
    with pytest.raises(ValueError, match="points need point_frames"):
        encoder()(pyramid(1, 64, 64), points=torch.zeros(1, 2))
