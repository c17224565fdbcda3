import pytest
import torch
from torch import nn

from segblocks.nn import MultiheadAttention


def test_equals_torch_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours, theirs = MultiheadAttention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        packed = [getattr(ours, name) for name in ("query", "key", "value")]
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in packed]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in packed]).normal_())
        for part, bias in zip(packed, theirs.in_proj_bias.chunk(3), strict=True):
            part.bias.copy_(bias)
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    q, kv = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    torch.testing.assert_close(ours(q, kv, kv), theirs(q, kv, kv)[0])


def test_weights_start_like_torch() -> None:
    torch.manual_seed(0)
    ours = MultiheadAttention(256, 8)
    bound = (6 / (3 * 256 + 256)) ** 0.5
    for part in (ours.query, ours.key, ours.value):
        assert 0.95 * bound < part.weight.abs().max() <= bound
        assert not part.bias.any()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="embed_dim=10, num_heads=4"):
        MultiheadAttention(10, 4)
