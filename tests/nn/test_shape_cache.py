"""What depends on shapes alone is made once, and never where it must not be kept."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from segblocks.nn import TemporalNeck, sine_position_2d, sine_position_3d
from segblocks.nn.shape_cache import SHARED, ShapeCache

CPU = torch.device("cpu")


def plane(cache: ShapeCache, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return cache.get(sine_position_2d, height, width, 8, device=CPU, dtype=dtype)


def test_a_shape_is_made_once() -> None:
    cache = ShapeCache()
    first = plane(cache, 3, 4)
    assert plane(cache, 3, 4) is first
    assert torch.equal(first, sine_position_2d(3, 4, 8))
    different = [plane(cache, 4, 3), plane(cache, 3, 4, torch.float64)]
    different.append(cache.get(torch.ones, (3, 4), device=None, dtype=torch.float32))
    assert len(cache) == 4
    assert len({id(x) for x in [first, *different]}) == 4


def test_devices_have_their_own() -> None:
    cache = ShapeCache()
    with torch.device("meta"):
        assert cache.get(torch.ones, (2,), device=None, dtype=torch.float32).is_meta
    assert not cache.get(torch.ones, (2,), device=None, dtype=torch.float32).is_meta
    assert len(cache) == 2


def test_a_thousand_shapes_do_not_make_it_grow() -> None:
    cache = ShapeCache(max_bytes=20_000, max_entries=30)
    for width in range(1, 1001):
        plane(cache, 2, width)
        assert cache.num_bytes == sum(entry.nbytes for entry in cache._entries.values())
        assert cache.num_bytes <= 20_000
        assert len(cache) <= 30
    for width in range(1, 1001):
        cache.get(torch.ones, (width % 40,), device=CPU, dtype=torch.float32)
    assert len(cache) == 30


def test_the_least_recently_used_goes_first() -> None:
    cache = ShapeCache(max_entries=2)
    first = plane(cache, 1, 1)
    plane(cache, 1, 2)
    plane(cache, 1, 1)
    plane(cache, 1, 3)
    assert plane(cache, 1, 1) is first


def test_threads_may_share_one() -> None:
    cache = ShapeCache(max_bytes=4096, max_entries=8)

    def work(seed: int) -> bool:
        sizes = [((seed + n) % 13 + 1, n % 5 + 1) for n in range(300)]
        return all(torch.equal(plane(cache, *size), sine_position_2d(*size, 8)) for size in sizes)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert cache.num_bytes == sum(entry.nbytes for entry in cache._entries.values())


def test_what_inference_mode_made_takes_part_in_training() -> None:
    cache = ShapeCache()
    with torch.inference_mode():
        made = plane(cache, 3, 4)
    assert not made.is_inference()
    weight = torch.ones_like(made, requires_grad=True)
    (weight * plane(cache, 3, 4)).sum().backward()
    assert torch.equal(weight.grad, made)


def test_fake_tensors_neither_enter_nor_meet_real_ones() -> None:
    cache = ShapeCache()
    with FakeTensorMode():
        assert type(plane(cache, 3, 4)) is not Tensor
    assert len(cache) == 0
    plane(cache, 3, 4)
    with FakeTensorMode():
        assert type(plane(cache, 3, 4)) is not Tensor


def test_compilers_see_through_it() -> None:
    cache = ShapeCache()

    @torch.compile(fullgraph=True, backend="eager", dynamic=True)
    def function(x: Tensor) -> Tensor:
        return x + plane(cache, *x.shape[:2])

    for height in (3, 5, 7):
        x = torch.zeros(height, 4, 8)
        torch.testing.assert_close(function(x), sine_position_2d(height, 4, 8))
    assert len(cache) == 0


def test_modules_neither_carry_nor_write_it() -> None:
    torch.manual_seed(0)
    neck = TemporalNeck(dict.fromkeys((4, 8, 16, 32), 8), 32, num_layers=1, hidden_dim=32)
    features = {s: torch.randn(1, 2, 8, 96 // s, 64 // s) for s in (4, 8, 16, 32)}
    want = neck(features)
    before = {key: entry.clone() for key, entry in SHARED._entries.items()}
    assert before
    for module in (neck, copy.deepcopy(neck), pickle.loads(pickle.dumps(neck))):
        got = module(features)
        sum(level.square().mean() for level in got.values()).backward()
        for stride, level in want.items():
            assert torch.equal(got[stride], level)
    assert all(torch.equal(SHARED._entries[key], entry) for key, entry in before.items())


def test_positions_that_are_handed_out_belong_to_the_caller() -> None:
    sine_position_3d(2, 3, 4, 8).zero_()
    sine_position_2d(3, 4, 8).zero_()
    assert sine_position_3d(2, 3, 4, 8).any(-1).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_graph_holds_its_own() -> None:
    device = torch.device("cuda")
    shape = {"device": device, "dtype": torch.float32}
    cache = ShapeCache()
    want = cache.get(sine_position_2d, 3, 4, 8, **shape)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = cache.get(sine_position_2d, 3, 4, 8, **shape)
        cache.get(sine_position_2d, 5, 4, 8, **shape)
    assert len(cache) == 1
    assert captured is not want
    graph.replay()
    torch.testing.assert_close(captured, want)
