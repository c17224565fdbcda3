from __future__ import annotations

import copy
import pickle

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from segblocks.nn.backbone import TimmBackbone


@pytest.fixture(scope="module")
def resnet() -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone("resnet18", frozen_batch_norm=True).eval()


@pytest.fixture(scope="module")
def swin() -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone("swin_tiny", strides=(4, 8), output_norms=True).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 96), (37, 50)])
@pytest.mark.parametrize("name", ["resnet", "swin"])
def test_levels_have_their_strides_and_channels(
    name: str, height: int, width: int, request: pytest.FixtureRequest
) -> None:
    backbone: TimmBackbone = request.getfixturevalue(name)
    with torch.no_grad():
        pyramid = backbone(torch.randn(2, 3, 3, height, width))
    assert list(pyramid) == list(backbone.channels)
    for stride, level in pyramid.items():
        size = (-(-height // stride), -(-width // stride))
        assert level.shape == (2, 3, backbone.channels[stride], *size)
        assert level.is_contiguous()


@pytest.mark.parametrize("name", ["resnet", "swin"])
def test_a_frame_does_not_see_the_others(name: str, request: pytest.FixtureRequest) -> None:
    backbone: TimmBackbone = request.getfixturevalue(name)
    frames = torch.randn(1, 3, 3, 40, 48)
    with torch.no_grad():
        clip = backbone(frames)
        for t in range(3):
            for stride, level in backbone(frames[:, t : t + 1]).items():
                torch.testing.assert_close(level[:, 0], clip[stride][:, t], rtol=1e-4, atol=1e-4)


def test_resnet50_has_the_entries_of_detectron2() -> None:
    with torch.device("meta"):
        backbone = TimmBackbone("resnet50", frozen_batch_norm=True)
    assert len(backbone.state_dict()) == 265
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 23_454_912
    assert backbone.channels == {4: 256, 8: 512, 16: 1024, 32: 2048}
    # The stride lies in the 3x3 convolution.
    assert backbone.get_submodule("net.layer2.0.conv2").stride == (2, 2)


@pytest.mark.parametrize(
    ("name", "channels", "heads", "window", "entries"),
    [
        ("swin_tiny", (96, 192, 384, 768), (3, 6, 12, 24), 7, 177),
        ("swin_base", (128, 256, 512, 1024), (4, 8, 16, 32), 12, 333),
        ("swin_large", (192, 384, 768, 1536), (6, 12, 24, 48), 12, 333),
    ],
)
def test_swin_variants_have_the_official_sizes(
    name: str, channels: tuple[int, ...], heads: tuple[int, ...], window: int, entries: int
) -> None:
    with torch.device("meta"):
        backbone = TimmBackbone(name, output_norms=True)
    assert tuple(backbone.channels.values()) == channels
    state = backbone.state_dict()
    assert len(state) == entries
    assert not [key for key in state if "relative_position_index" in key or "attn_mask" in key]
    for stage, num_heads in enumerate(heads):
        table = state[f"net.layers_{stage}.blocks.1.attn.relative_position_bias_table"]
        assert table.shape == ((2 * window - 1) ** 2, num_heads)


def test_output_norms_normalise_the_channels(swin: TimmBackbone) -> None:
    frames = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        level = swin(frames)[8]
        torch.testing.assert_close(level.mean(2), torch.zeros(1, 1, 4, 4), rtol=0, atol=1e-5)
        swin.norms["8"].bias.fill_(3.0)
        torch.testing.assert_close(swin(frames)[8], level + 3)
        swin.norms["8"].bias.zero_()


def test_freezing_does_not_change_the_evaluated_network() -> None:
    # The batch norms of this network hold its activations.
    frames = torch.randn(1, 2, 3, 32, 32)
    torch.manual_seed(0)
    plain = TimmBackbone("tf_efficientnet_lite0", strides=(8, 16)).eval()
    frozen = TimmBackbone("tf_efficientnet_lite0", strides=(8, 16), frozen_batch_norm=True)
    state = {k: v for k, v in plain.state_dict().items() if not k.endswith("num_batches_tracked")}
    for key, value in state.items():
        if "running" in key:
            value.copy_(torch.rand_like(value) + 0.5)
    frozen.load_state_dict(state)
    with torch.no_grad():
        expected, got = plain(frames), frozen.train()(frames)
    for stride in (8, 16):
        torch.testing.assert_close(got[stride], expected[stride], rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())


def test_drop_path_grows_linearly() -> None:
    with torch.device("meta"):
        backbone = TimmBackbone("swin_tiny", drop_path=0.3)
        without = TimmBackbone("swin_tiny")
    rates = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    expected = torch.linspace(0, 0.3, 12)[1:].repeat_interleave(2)
    torch.testing.assert_close(torch.tensor(rates), expected)
    assert not any(isinstance(module, DropPath) for module in without.modules())


@pytest.mark.parametrize("name", ["resnet", "swin"])
def test_compiles_exports_copies_and_pickles(name: str, request: pytest.FixtureRequest) -> None:
    backbone: TimmBackbone = request.getfixturevalue(name)
    frames = torch.randn(1, 2, 3, 36, 40)
    others = [
        torch.compile(backbone, fullgraph=True, backend="aot_eager"),
        torch.export.export(backbone, (frames,)).module(),
        copy.deepcopy(backbone),
        pickle.loads(pickle.dumps(backbone)),
    ]
    with torch.no_grad():
        expected = backbone(frames)
        for other in others:
            for stride, level in other(frames).items():
                torch.testing.assert_close(level, expected[stride], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "close"), [("resnet5", "resnet50"), ("swin_tinny", "swin_tiny"), ("zzz", "see timm")]
)
def test_an_unknown_name_lists_close_ones(name: str, close: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown backbone '{name}'.*{close}"):
        TimmBackbone(name)


@pytest.mark.parametrize("strides", [(4, 64), (), (8, 8)])
def test_strides_must_be_the_networks_own(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"levels of stride \[2, 4, 8, 16, 32\]"):
        TimmBackbone("resnet18", strides=strides)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 2, 4, 32, 32)])
def test_frames_of_another_shape_are_refused(resnet: TimmBackbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, T, 3, H, W\)"):
        resnet(torch.zeros(shape))


def test_frames_that_are_not_normalised_are_refused(resnet: TimmBackbone) -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        resnet(torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8))
