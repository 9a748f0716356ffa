"""Judge generated 8x8 digits by two classifiers and a reference set of real digits.

    python benchmarks/judge_digits.py SAMPLES [--labels LABELS] [--seed 0]

SAMPLES: a folder of PNG files (those of 8x8; a grid beside them is left out), a .npy array, or a .npz
with `images` and, where they exist, `labels`; arrays are (n, 1, 8, 8) or (n, 8, 8), uint8 or floats in
[-1, 1]. LABELS: the classes asked for, as one integer for all images, or a .npy or .txt file of n. The
classifiers are trained first, in seconds, and are the same ones for the same seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, pad

from benchmarks import arrays
from modules.core.checks import DataError, UserError
from modules.data.digits import Digits
from modules.data.images import read_unscaled
from modules.data.quantization import to_unit_range
from modules.metrics.mode_mass import shares, total_variation
from modules.metrics.prdc import distances, neighbour_radii, prdc

NUM_CLASSES = 10
CONFIDENCE = 0.9  # each classifier's, for a digit to count as recognised
FEWEST = 20  # images that can be judged
NEIGHBOURS = 5  # k of coverage and recall
SUBSETS = 10  # of equal size, over which coverage and recall are averaged


class ConvolutionalClassifier:
    """A small convolutional network, trained by cross-entropy on digits shifted and slightly noisy.

    Args:
        images: (n, 1, 8, 8) in [-1, 1].
        labels: (n,) int64.
        seed: of initial weights, order, shifts and noise; the global generator is left as it was.
        num_epochs: passes over the images.
    """

    def __init__(self, images: Tensor, labels: Tensor, seed: int = 0, num_epochs: int = 24) -> None:
        batch_size, noise, learning_rate = 64, 0.1, 4e-3
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
                nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(),
                nn.Dropout(0.3), nn.Linear(64 * 4 * 4, NUM_CLASSES),
            )  # fmt: skip
            batches = len(images) // batch_size
            optimizer = torch.optim.AdamW(self.net.parameters(), learning_rate, weight_decay=1e-4)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, learning_rate, total_steps=num_epochs * batches
            )
            for _ in range(num_epochs):
                for rows in torch.randperm(len(images))[: batches * batch_size].view(batches, batch_size):
                    dy, dx = torch.randint(0, 3, (2,)).tolist()
                    x = pad(images[rows], (1, 1, 1, 1), value=-1.0)[:, :, dy : dy + 8, dx : dx + 8]
                    loss = cross_entropy(self.net(x + noise * torch.randn_like(x)), labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
        self.net.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Class probabilities (n, 10) of images (n, 1, 8, 8)."""
        return torch.cat([self.net(x).softmax(1) for x in images.split(1000)]).double()


class KernelClassifier:
    """Kernel ridge regression on ±1 codes of the classes, with a Gaussian kernel and a calibrated softmax.

    Probabilities softmax(τ·k(y, X)A), A of `ridge_regression`; the sharpness τ maximises the likelihood
    of the leave-one-out scores. Far from all digits the scores vanish, and with them the confidence.

    Args:
        images: (n, 1, 8, 8) in [-1, 1].
        labels: (n,) int64.
        precision: γ of the kernel exp(-γ||x - y||²).
        ridge: added to the kernel's diagonal.
    """

    def __init__(self, images: Tensor, labels: Tensor, precision: float = 0.04, ridge: float = 0.01) -> None:
        self.x, self.precision = images.flatten(1).double(), precision
        codes = 2.0 * one_hot(labels, NUM_CLASSES).double() - 1.0
        self.weights, left_out = ridge_regression(self._kernel(self.x), codes, ridge)
        candidates = torch.logspace(-0.5, 1.5, 81).double()
        losses = torch.stack([cross_entropy(c * left_out, labels) for c in candidates])
        self.sharpness = candidates[losses.argmin()]

    def _kernel(self, x: Tensor) -> Tensor:
        return torch.exp(-self.precision * torch.cdist(x, self.x) ** 2)

    def __call__(self, images: Tensor) -> Tensor:
        """Class probabilities (n, 10) of images (n, 1, 8, 8)."""
        scores = [self._kernel(x.flatten(1).double()) @ self.weights for x in images.split(1000)]
        return (self.sharpness * torch.cat(scores)).softmax(1)


def ridge_regression(kernel: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weights A = (K + ridge·I)⁻¹Y, and for each row what the regression on all others predicts.

    The latter is Y_i - A_i/(K + ridge·I)⁻¹_ii (Rasmussen and Williams 2006, eq. 5.12). K (n, n), Y (n, c).
    """
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(len(kernel), dtype=kernel.dtype))
    weights = inverse @ targets
    return weights, targets - weights / inverse.diagonal()[:, None]


class Judge:
    """Figures of generated digits beside those of real ones the reference doesn't hold.

    The reference R is 80% of the real digits, and all that the two classifiers have learned from; the
    other 20% (360) are held out. Make one by `Judge.fit`; call it with images (n, 1, 8, 8), n >= 20,
    which are clamped to [-1, 1] and quantized to 8 bits first. Distances are Euclidean over pixels in
    [-1, 1]. The figures, a dict of floats:

    - recognised: share of images on whose class both classifiers agree, each with confidence > 0.9, and
      whose nearest digit of R is no farther than the 99th percentile of the held-out digits' distances.
      Beside it recognised_real, the held-out digits' own share.
    - as_asked (with labels only): share recognised, and as the class asked for.
    - coverage, recall: of R by the sample, k = 5, in pixel space; see `prdc`. Both depend on the
      number of images, so m = min(n, 360) are used, averaged over 10 random subsets of m; coverage_real
      and recall_real are the held-out digits' own with the same m, and coverage_ratio and recall_ratio
      the quotients.
    - total_variation: ½ Σ_c |share_c - real share_c| between the classes of all images and the classes
      of all real digits (near uniform); an image's class is the one of the larger mean probability, its
      confidence not asked. n images drawn from real digits score about 1.2/√n.
    - nearest, nearest_real, nearest_ratio: median distance to the nearest digit of R, the held-out
      digits' own, and the quotient; below 0.9 the images are copies of R.

    Ten class means pass the first figure and fail coverage and recall; copies pass all but the last.
    """

    def __init__(
        self, reference: Tensor, reference_labels: Tensor, held_out: Tensor, real_labels: Tensor, seed: int
    ) -> None:
        self.seed = seed
        self.classifiers = (
            ConvolutionalClassifier(reference, reference_labels, seed),
            KernelClassifier(reference, reference_labels),
        )
        self.reference, self.held_out = _points(reference), _points(held_out)
        self.radii = neighbour_radii(self.reference, NEIGHBOURS)
        self.frequencies = shares(real_labels, NUM_CLASSES)
        nearest = self._nearest(self.held_out)
        self.nearest_real = nearest.median().item()
        self.farthest = nearest.quantile(0.99).item()
        self.recognised_real = self.recognise(held_out)[0].double().mean().item()
        self._real_spread: dict[int, tuple[float, float]] = {}

    @classmethod
    def fit(cls, seed: int = 0) -> Judge:
        """The judge whose reference is the training part of the shipped digits; about 6 s of one core."""
        reference, reference_labels = real_digits("train")
        held_out, held_out_labels = real_digits("held_out")
        return cls(
            reference, reference_labels, held_out, torch.cat([reference_labels, held_out_labels]), seed
        )

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """The figures of images (n, 1, 8, 8), with labels (n,) those of class-conditional ones.

        Raises:
            DataError: another shape, fewer than 20 images, numbers that aren't finite, strange labels.
        """
        images = _quantize(_check_images(images))
        recognised, classes = self.recognise(images)
        figures = {"recognised": recognised.double().mean().item(), "recognised_real": self.recognised_real}
        if labels is not None:
            labels = _check_labels(labels, len(images))
            figures["as_asked"] = (recognised & (classes == labels)).double().mean().item()
        points = _points(images)
        count = min(len(points), len(self.held_out))
        figures["coverage"], figures["recall"] = self._spread(points, count)
        if count not in self._real_spread:
            self._real_spread[count] = self._spread(self.held_out, count)
        figures["coverage_real"], figures["recall_real"] = self._real_spread[count]
        for name in ("coverage", "recall"):
            figures[f"{name}_ratio"] = figures[name] / figures[f"{name}_real"]
        figures["total_variation"] = total_variation(shares(classes, NUM_CLASSES), self.frequencies)
        figures["nearest"] = self._nearest(points).median().item()
        figures["nearest_real"] = self.nearest_real
        figures["nearest_ratio"] = figures["nearest"] / self.nearest_real
        return figures

    def recognise(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Which images (n, 1, 8, 8) are recognised, (n,) bool, and the classes of all, (n,) int64."""
        first, second = (classifier(images) for classifier in self.classifiers)
        agree = first.argmax(1) == second.argmax(1)
        confident = torch.minimum(first.amax(1), second.amax(1)) > CONFIDENCE
        near = self._nearest(_points(images)) <= self.farthest
        return agree & confident & near, (first + second).argmax(1)

    def _nearest(self, points: Tensor) -> Tensor:
        """Distances (n,) to the nearest digit of the reference."""
        return torch.cat([distances(p, self.reference).amin(1) for p in points.split(1000)])

    def _spread(self, points: Tensor, count: int) -> tuple[float, float]:
        """Coverage and recall of the reference by `count` of the points, averaged over subsets."""
        figures = []
        for rows in _subsets(len(points), count, self.seed):
            generated = points[rows]
            found = prdc(self.reference, generated, NEIGHBOURS, self.radii)
            figures.append((found["coverage"], found["recall"]))
        covered, recalled = zip(*figures, strict=True)
        return sum(covered) / len(figures), sum(recalled) / len(figures)


@cache
def _fitted() -> Judge:
    return Judge.fit()


def recognised(images: Tensor) -> Tensor:
    """Which images (n, 1, 8, 8) the judge recognises, (n,) bool; it is fitted at the first call."""
    return _fitted().recognise(_quantize(images))[0]


def classes(images: Tensor) -> Tensor:
    """Which digits the judge recognises in images (n, 1, 8, 8), (n,) int64; -1 where it recognises none."""
    found, of_all = _fitted().recognise(_quantize(images))
    return torch.where(found, of_all, -1)


def _subsets(total: int, count: int, seed: int) -> Iterator[Tensor]:
    """Rows of random subsets of `count` of `total`; the whole, once, where there is no other."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(1 if total == count else SUBSETS):
        yield torch.randperm(total, generator=generator)[:count]


def _points(images: Tensor) -> Tensor:
    """Images as float64 points (n, 64)."""
    return images.flatten(1).double()


def _quantize(images: Tensor) -> Tensor:
    """Clamped to [-1, 1] and rounded to 8 bits, as files of images are (spec §6)."""
    return (((images.float().clamp(-1, 1) + 1) * 127.5).round() / 127.5) - 1


def _check_images(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1:] != (1, 8, 8):
        raise DataError(f"images must be (n, 1, 8, 8), got {tuple(images.shape)}")
    if len(images) < FEWEST:
        raise DataError(f"{len(images)} images are too few to judge: give at least {FEWEST}")
    if not images.isfinite().all():
        raise DataError("images hold numbers that are not finite: the sampler has diverged")
    return images.detach().cpu()


def _check_labels(labels: Tensor, count: int) -> Tensor:
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != (count,) or not ((labels >= 0) & (labels < NUM_CLASSES)).all():
        raise DataError(f"labels must be {count} classes of 0..{NUM_CLASSES - 1}, one for each image")
    return labels.long()


def real_digits(part: str) -> tuple[Tensor, Tensor]:
    """The shipped digits' "train" (the reference) or "held_out" part: (n, 1, 8, 8) in [-1, 1], (n,)."""
    examples = Digits(num_classes=NUM_CLASSES, part=part).open()
    images, labels = examples.rows(torch.arange(len(examples)))
    return images, labels[:, 0]


def read_images(path: Path) -> tuple[Tensor, Tensor | None]:
    """Images (n, 1, 8, 8) in [-1, 1] of a folder of PNG files, a .npy or a .npz, and a .npz's labels."""
    labels = None
    if path.is_dir():
        pictures = [read_unscaled(file, 1)[0].numpy() for file in sorted(path.glob("*.png"))]
        digits = [picture for picture in pictures if picture.shape == (8, 8)]
        if not digits:
            raise DataError(f"{path} holds no PNG file of 8x8 pixels")
        array = np.stack(digits)
    elif path.suffix == ".npz" and path.exists():
        array, found = arrays.images(path), arrays.load(path)
        labels = torch.from_numpy(found["labels"]) if "labels" in found else None
    elif path.suffix == ".npy" and path.exists():
        array = arrays.images(path)
    else:
        raise DataError(f"{path} is no folder of PNG files and no .npy or .npz file")
    images = torch.from_numpy(array)
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise DataError(f"{path} holds {array.dtype}: give uint8, or floats in [-1, 1]")
    images = to_unit_range(images)
    return images[:, None] if images.ndim == 3 else images, labels


def read_labels(text: str, count: int) -> Tensor:
    """Labels (count,) of one integer for all, or of a .npy or .txt file."""
    if text.isdigit():
        return torch.full((count,), int(text))
    if not Path(text).is_file():
        raise DataError(f"--labels {text} is neither an integer nor a file")
    array = arrays.images(Path(text)) if text.endswith(".npy") else np.loadtxt(text, dtype=np.int64, ndmin=1)
    return torch.from_numpy(array)


def table(figures: dict[str, float]) -> str:
    """The figures as text: a row each, with the real digits' own and the quotient beside them."""
    lines = [f"{'':<16}{'generated':>10}{'real':>10}{'ratio':>10}"]
    for name in ("recognised", "as_asked", "coverage", "recall", "total_variation", "nearest"):
        if name in figures:
            row = [figures.get(name + end) for end in ("", "_real", "_ratio")]
            lines.append(f"{name:<16}" + "".join(f"{'' if v is None else f'{v:.3f}':>10}" for v in row))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--labels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    try:
        images, labels = read_images(args.samples)
        if args.labels is not None:
            labels = read_labels(args.labels, len(images))
        print(table(Judge.fit(args.seed)(images, labels)))
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
