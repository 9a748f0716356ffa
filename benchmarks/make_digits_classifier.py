"""Make modules/features/digits_classifier.safetensors: train the classifier that digits are evaluated by.

    python -m benchmarks.make_digits_classifier

It learns from the 1,437 training digits, shifted and slightly noisy, and is shown things that are no digits,
for which all classes shall be as likely (outlier exposure, Hendrycks et al. 2019): noise, blends of two
digits, halves of two digits, digits with their pixels or blocks shuffled, blurred digits. Prints what the
held-out digits and such things get.
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, pad

from benchmarks.judge_digits import real_digits
from modules.data.quantization import to_bytes
from modules.features.digits import FILE, DigitsNetwork

EPOCHS, BATCH, RATE, NOISE = 60, 64, 3e-3, 0.1


def outliers(images: Tensor) -> dict[str, Tensor]:
    """Things made of digits (n, 1, 8, 8) that are none, n of each kind."""
    n = len(images)
    other = images[torch.randperm(n)]
    half = torch.cat([images[..., :4], other[..., 4:]], 3)
    pixels = torch.rand(n, 64).argsort(1)
    blocks = images.unfold(2, 4, 4).unfold(3, 4, 4).reshape(n, 4, 4, 4)
    blocks = torch.stack([b[order] for b, order in zip(blocks, torch.rand(n, 4).argsort(1), strict=True)])
    rows = torch.cat(
        [torch.cat([blocks[:, 0], blocks[:, 1]], 2), torch.cat([blocks[:, 2], blocks[:, 3]], 2)], 1
    )
    return {
        "noise": (2 * torch.rand(n, 1, 8, 8) - 1) * torch.rand(n, 1, 1, 1),
        "pixels": images.flatten(1).gather(1, pixels).reshape(images.shape),
        "blocks": rows[:, None],
        "halves": half,
        "blends": (images + other) / 2,
        "blurs": avg_pool2d(pad(images, (1, 1, 1, 1), value=-1.0), 3, stride=1),
        "grains": (images + 0.7 * torch.randn_like(images)).clamp(-1, 1),
    }


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = real_digits("train")
    network = DigitsNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images))[: batches * BATCH].view(batches, BATCH):
            dy, dx = torch.randint(0, 3, (2,)).tolist()
            x = pad(images[rows], (1, 1, 1, 1), value=-1.0)[:, :, dy : dy + 8, dx : dx + 8]
            strange = torch.cat(list(outliers(x).values()))
            strange = strange[torch.randperm(len(strange))[:BATCH]]
            noisy = torch.cat([x, strange])
            _, logits = network(noisy + NOISE * torch.rand(()) * torch.randn_like(noisy))
            unsure = -logits[BATCH:].log_softmax(1).mean()
            loss = cross_entropy(logits[:BATCH], labels[rows]) + 0.2 * unsure
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    save_file(network.state_dict(), FILE)
    print(FILE, FILE.stat().st_size, "bytes")
    held_out, truth = real_digits("held_out")
    with torch.no_grad():
        for name, x in {"held-out digits": held_out, **outliers(held_out)}.items():
            p = network(to_bytes(x).float() / 127.5 - 1)[1].softmax(1)
            right = f", right {(p.argmax(1) == truth).float().mean():.3f}" if x is held_out else ""
            print(f"{name}: recognised {(p.amax(1) > 0.9).float().mean():.3f}{right}")


if __name__ == "__main__":
    main()
