"""An energy of your own: a vision transformer over patches, the level as one more token.

accelerate launch launch.py --gin gin/drl_digits.gin --import examples/vit_energy.py \
    --set "RecoveryLikelihood.energy=@VisionTransformerEnergy()" \
    --set "VisionTransformerEnergy.shape=%SHAPE" --output runs/vit
"""

import gin
import torch
import torch.nn.functional as F
from torch import nn

from modules.energies import Energy


@gin.register
class VisionTransformerEnergy(Energy):
    """E: a head on the mean token of patches, their places and the level λ_s; 0 at its start.

    Args:
        shape: (channels, height, width), both sides divisible by `patch`.
        num_classes: labels; each, and none, has a vector that is added to the level's.
        patch: side of a patch in pixels.
        width, depth, heads: of the transformer.
    """

    def __init__(self, shape, num_classes=0, patch=2, width=64, depth=2, heads=4):
        super().__init__(shape, num_classes)
        self.patch, self.width, self.depth, self.heads = patch, width, depth, heads
        channels, height, across = self.shape
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.place = nn.Parameter(0.02 * torch.randn(height // patch * (across // patch), width))
        self.level = nn.Linear(1, width)
        self.label = nn.Embedding(num_classes + 1, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)  # chains stay where they start until it has learnt

    def forward(self, y, transition, label=None):
        tokens = self.embed(y).flatten(2).transpose(1, 2) + self.place
        level = self.level(transition.logsnr_s[:, None] / 10)
        level = level + self.label(torch.zeros_like(transition.t) if label is None else label + 1)
        tokens = torch.cat([level[:, None], tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(1))[:, 0]


class Block(nn.Module):
    """h ← h + attention(norm h); h ← h + mlp(norm h)."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h):
        q, k, v = self.qkv(self.norm1(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = h + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm2(h))
