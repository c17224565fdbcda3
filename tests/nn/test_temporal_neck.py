import pytest
import torch
from torch import Tensor

from segblocks.nn import TemporalNeck

CHANNELS = {4: 6, 8: 8, 16: 10, 32: 12}
DIM = 32


def neck(**kwargs: object) -> TemporalNeck:
    torch.manual_seed(0)
    options = {"num_layers": 2, "num_heads": 4, "hidden_dim": 48} | kwargs
    module = TemporalNeck(CHANNELS, DIM, **options)
    for parameter in module.parameters():  # offsets and weights that depend on the query
        torch.nn.init.normal_(parameter, std=0.1)
    return module.double()


def video(frames: int = 3, height: int = 64, width: int = 128, batch: int = 1) -> dict[int, Tensor]:
    torch.manual_seed(1)
    return {
        s: torch.randn(batch, frames, c, -(-height // s), -(-width // s), dtype=torch.float64)
        for s, c in CHANNELS.items()
    }


def moved(module: TemporalNeck, before: dict, after: dict, stride: int) -> Tensor:
    """Where the neck's output at a stride changes between two inputs, (T, h, w)."""
    difference = module(after)[stride] - module(before)[stride]
    return (difference.abs() > 1e-9).any(dim=2)[0]


def test_shapes() -> None:
    for stride, level in neck()(video(batch=2)).items():
        assert level.shape == (2, 3, DIM, 64 // stride, 128 // stride)


def test_temporal_attention_stays_in_its_cell() -> None:
    module = neck(num_layers=1)
    before, after = video(), video()
    after[32][0, 1, :, 0, 3] += 1  # frame 1, the cell at the right
    for layer in module.deformable_layers:  # each token sees itself alone, so that cells show
        torch.nn.init.zeros_(layer.attention.sampling_offsets.weight)
        torch.nn.init.zeros_(layer.attention.sampling_offsets.bias)
        torch.nn.init.zeros_(layer.attention.output.weight)
    for projection in module.input_projections.values():  # its norm would couple all pixels
        projection[1] = torch.nn.Identity()
    changed = moved(module, before, after, 8)
    assert changed[:, :, 8:].all()
    assert not changed[:, :, :8].any()


def test_without_cells_frames_do_not_mix() -> None:
    module = neck(cells=None)
    whole = module(video())
    for t in range(3):
        alone = module({s: f[:, t : t + 1] for s, f in video().items()})
        for stride in alone:
            torch.testing.assert_close(alone[stride][:, 0], whole[stride][:, t])
    assert not any("temporal" in name for name in module.state_dict())


def test_levels_without_cells_pass_the_temporal_layers() -> None:
    module = neck(cells={32: 2, 16: 4})
    whole, first = module(video()), module({s: f[:, :1] for s, f in video().items()})
    assert not torch.allclose(whole[32][:, 0], first[32][:, 0])
    layer = module.temporal_layers[0]
    shapes, cells = [(2, 4), (4, 8), (8, 16)], [2, 4, None]
    tokens = torch.randn(1, 3, 168, DIM, dtype=torch.float64)
    refined = layer(tokens, torch.zeros(3, 168, DIM).double(), shapes, cells)
    assert torch.equal(refined[:, :, 40:], tokens[:, :, 40:])
    assert not torch.equal(refined[:, :, :40], tokens[:, :, :40])


@pytest.mark.parametrize(("height", "width"), [(480, 864), (100, 50), (40, 33)])
def test_any_size_without_padding(height: int, width: int) -> None:
    features = {s: f.float() for s, f in video(2, height, width).items()}
    output = neck(num_layers=1).float()(features)
    assert output[4].shape[-2:] == features[4].shape[-2:]
    assert all(level.isfinite().all() for level in output.values())


def test_frames_can_be_permuted_but_for_their_positions() -> None:
    module = neck()
    module._clip_positions = lambda frames, shapes, like: like.new_zeros(1, 1, 1)
    order = [2, 0, 1]
    direct = module({s: f[:, order] for s, f in video().items()})
    for stride, level in module(video()).items():
        torch.testing.assert_close(direct[stride], level[:, order])


def test_strides_are_free() -> None:
    module = neck(strides=(32, 16), cells={32: 1, 16: 2})
    assert list(module(video())) == [32, 16, 4]
    assert set(module.laterals) == {"8", "4"}


def test_compiles_whole_forward_and_backward() -> None:
    module = neck(num_layers=1).float()
    features = {s: f.float().requires_grad_() for s, f in video().items()}
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    want, got = module(features), compiled(features)
    for stride in want:
        torch.testing.assert_close(got[stride], want[stride], atol=1e-5, rtol=1e-5)
    inputs = list(features.values())
    wanted = torch.autograd.grad(want[4].square().sum(), inputs)
    gotten = torch.autograd.grad(got[4].square().sum(), inputs)
    for w, g in zip(wanted, gotten, strict=True):
        torch.testing.assert_close(g, w, atol=1e-4, rtol=1e-3)


def test_exports() -> None:
    module = neck(num_layers=1).float()
    features = {s: f.float() for s, f in video().items()}
    exported = torch.export.export(module, (features,)).module()
    for stride, level in module(features).items():
        torch.testing.assert_close(exported(features)[stride], level, atol=1e-5, rtol=1e-5)


def test_autocast_keeps_locations_in_float32() -> None:
    module = neck().float()
    features = {s: f.float() for s, f in video().items()}
    want = module(features)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(features)
    error = (got[32].float() - want[32]).norm() / want[32].norm()
    assert error < 2e-2


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"in_channels must name strides .* without \[4\]"):
        TemporalNeck({8: 8, 16: 8, 32: 8}, 32)
    with pytest.raises(ValueError, match=r"cells must lie on strides .* got \[64\]"):
        TemporalNeck(CHANNELS, 32, cells={64: 1})
    with pytest.raises(ValueError, match="mask_stride"):
        TemporalNeck(CHANNELS, 32, mask_stride=3)
