"""Self-attention against torch's own, and how it starts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modules.layers.attention import SelfAttention
from modules.layers.normalization import group_norm

torch.set_num_threads(1)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_it_is_torchs_attention_of_pixels(num_heads: int) -> None:
    torch.manual_seed(0)
    ours = SelfAttention(8, nn.Identity(), num_heads).double()
    nn.init.normal_(ours.out.weight)
    theirs = nn.MultiheadAttention(8, num_heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight.flatten(1))
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.out.weight.flatten(1))
        theirs.out_proj.bias.copy_(ours.out.bias)
    h = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    pixels = h.flatten(2).transpose(1, 2)
    wanted = h + theirs(pixels, pixels, pixels)[0].transpose(1, 2).reshape(h.shape)
    torch.testing.assert_close(ours(h), wanted, rtol=1e-12, atol=1e-12)


def test_it_starts_as_what_it_gets_and_a_bias() -> None:
    torch.manual_seed(0)
    attention, h = SelfAttention(8, group_norm("x", 4, 8), 2), torch.randn(2, 8, 4, 4)
    assert torch.equal(attention(h), h + attention.out.bias[:, None, None])
