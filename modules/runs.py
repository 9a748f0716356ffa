"""A trained run, rebuilt from its folder.

run = runs.load("runs/cdrl_digits")
images = run.generate(64, seed=0).x  # (64, 1, 8, 8) in about [-1, 1]
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules import checkpoints, config, durable
from modules.checks import CheckpointError, ConfigurationError, check_choice, check_integer, nearest
from modules.config_imports import is_imported
from modules.data.base import Data
from modules.ema import EMA
from modules.energies.base import Energy
from modules.energies.sum import EnergySum
from modules.evaluation import Evaluation
from modules.features.base import Extractor
from modules.forward import marginal
from modules.generation import Generation, Sampled, Start
from modules.guidance import ClassifierFreeGuidance, Composition
from modules.initializers.base import Initializer
from modules.initializers.copy import CopyInitializer
from modules.initializers.sum import InitializerSum
from modules.inpainting import Inpainting, check_known
from modules.interpolation import spherical
from modules.methods.base import Method
from modules.noise import Noise
from modules.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling import sample
from modules.training import load_weights

CONFIG, IMPORTS = "config.gin", "config.json"


class Run:
    """A run's objects with the weights of one checkpoint.

    Attributes:
        folder, config: where it lies, and its configuration.
        method: its networks hold the loaded weights, in eval mode, on the runtime's device.
        energy, initializer: what is sampled: the method's networks, or compositions of several runs'.
        generation: how samples are drawn.
        evaluation: what is measured of samples, where the run is configured with it. extractor: by which
            features, where it names any.
        data: the data set, unopened. runtime: devices and processes. step: of the checkpoint.
        parts: further components that `load` was asked for, by name.
    """

    def __init__(self, folder: Path, built: config.Config, checkpoint: Path, weights: str) -> None:
        check_choice("weights", weights, ("ema", "live"))
        self.folder, self.config = folder, built
        self.method: Method = built.value("Trainer.method")
        self.generation: Generation = built.value("Trainer.generation")
        if not is_bound(built, "Generation.inpainting"):
            self.generation.inpainting = Inpainting(self.method.shared_noise)
        self.data: Data = built.value("Trainer.data")
        self.evaluation: Evaluation | None = (
            built.value("Trainer.evaluation") if is_bound(built, "Trainer.evaluation") else None
        )
        self.extractor: Extractor | None = (
            built.value("Evaluation.extractor") if is_bound(built, "Evaluation.extractor") else None
        )
        self.runtime: Runtime = (
            built.value("Trainer.runtime") if is_bound(built, "Trainer.runtime") else Runtime()
        )
        self.runtime.place(self.method.requires_grad_(False).eval())
        tensors, state = checkpoints.load(checkpoint)
        for name, network in self.method.networks().items():
            load_weights(network, tensors, f"{name}_ema" if weights == "ema" else name)
            if weights == "ema":
                EMA.ready(network)
        self.step: int = state["step"]
        self.parts: dict[str, Any] = {}
        self.energy: Energy = self.method.energy
        self.initializer: Initializer = self.method.initializer

    def generate(
        self,
        num: int,
        label: int | Sequence[int] | Tensor | None = None,
        guidance: float | None = None,
        seed: int = 0,
        batch_size: int = 256,
        dtype: torch.dtype = torch.float32,
        progress: bool = False,
    ) -> Sampled:
        """Images 0..num-1 of a seed, on the CPU; image i depends on (seed, i, its label) alone.

        Args:
            num: how many.
            label: one class for all, or (num,) classes, -1 = none; None: none.
            guidance: w of classifier-free guidance (spec §8); None: as configured.
            batch_size: images at once on a device. progress: whether to show a bar.

        Raises:
            ConfigurationError: labels or guidance that the model was not made for.
        """
        check_integer("num", num, low=1)
        check_integer("batch_size", batch_size, low=1)
        return sample(
            self.guided(guidance),
            self.energy,
            self.initializer,
            self.method.schedule,
            num,
            self.labels(label, num),
            seed,
            self.runtime,
            batch_size,
            dtype,
            progress=progress,
        )

    def inpaint(
        self,
        images: Tensor,
        mask: Tensor,
        completions: int = 1,
        label: int | Sequence[int] | Tensor | None = None,
        guidance: float | None = None,
        seed: int = 0,
        batch_size: int = 256,
        dtype: torch.dtype = torch.float32,
        progress: bool = False,
    ) -> Tensor:
        """Completions (n, k, *shape) of images, the known pixels exactly as they are (spec §8).

        Completion j of image i has the noise of sample i·k + j of the seed.

        Args:
            images: (n, *shape), in [-1, 1].
            mask: 1 = known, 0 = to be found: (h, w), *shape or (n, *shape).
            completions: k.
            label: one class for all, or (n,) classes, -1 = none; None: none.
            guidance, seed, batch_size: as of generate. progress: whether to show a bar.

        Raises:
            ConfigurationError: images, masks, labels or guidance that don't fit the model.
        """
        check_integer("completions", completions, low=1)
        check_integer("batch_size", batch_size, low=1)
        known = check_known(images, mask, self.energy.shape)
        labels = self.labels(label, len(images))
        each = torch.arange(len(images)).repeat_interleave(completions)
        drawn = sample(
            self.guided(guidance),
            self.energy,
            self.initializer,
            self.method.schedule,
            len(each),
            None if labels is None else labels[each],
            seed,
            self.runtime,
            batch_size,
            dtype,
            known=known.rows(each),
            progress=progress,
        )
        return drawn.x.unflatten(0, (len(images), completions))

    def interpolate(
        self,
        pairs: int | tuple[Tensor, Tensor],
        frames: int = 9,
        level: int | None = None,
        label: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        batch_size: int = 256,
        dtype: torch.dtype = torch.float32,
        progress: bool = False,
    ) -> Tensor:
        """Ways (n, frames, *shape) between noises or images; all other noise of a way is shared (spec §8).

        Args:
            pairs: n, for ways between the x_T of samples 2i and 2i+1 of the seed (the first frame is sample
                2i); or images (n, *shape) at the ways' beginnings and ends, made x_t = α_t x + σ_t ε with
                a fixed ε for each.
            frames: points on a way, its ends included.
            level: t of images, 1..T: the higher, the less of them is left; None: T/2.
            label: one class for all; guidance, seed, batch_size: as of generate.

        Raises:
            ConfigurationError: images, a level, a label or guidance that don't fit the model.
        """
        check_integer("frames", frames, low=2)
        check_integer("batch_size", batch_size, low=1)
        schedule, shape = self.method.schedule, self.energy.shape
        between_images = isinstance(pairs, tuple)
        num = len(pairs[0]) if isinstance(pairs, tuple) else pairs
        check_integer("the number of pairs", num, low=1)
        rows = 2 * torch.arange(num)
        noises = [Noise(seed, r, stream="sample", dtype=dtype) for r in (rows, rows + 1)]
        top = schedule.num_levels if not between_images else max(1, schedule.num_levels // 2)
        level = top if level is None else level
        check_integer("level", level, low=1, high=schedule.num_levels)
        if isinstance(pairs, tuple):
            for images in pairs:
                if images.shape != (num, *shape):
                    raise ConfigurationError(
                        f"images must be ({num}, {', '.join(map(str, shape))}), got {tuple(images.shape)}"
                    )
            c = schedule.transition(torch.full((num,), level), dtype)
            ends = [
                marginal(images.to(dtype), c.alpha_t, c.sigma_t, noise.child("encoded").normal("eps", shape))
                for images, noise in zip(pairs, noises, strict=True)
            ]
        elif level != schedule.num_levels:
            raise ConfigurationError("noises lie at the top level: a level is for ways between images")
        else:
            ends = [noise.normal("x_T", shape) for noise in noises]
        ways = spherical(ends[0], ends[1], torch.linspace(0, 1, frames)).flatten(0, 1)
        drawn = sample(
            self.guided(guidance),
            self.energy,
            self.initializer,
            schedule,
            len(ways),
            self.labels(label, len(ways)),
            seed,
            self.runtime,
            batch_size,
            dtype,
            rows=rows.repeat_interleave(frames),
            start=Start(ways, level),
            progress=progress,
        )
        return drawn.x.unflatten(0, (num, frames))

    def with_steps(self, num_steps: int) -> Run:
        """This run with K chain steps a level when sampling, and the step-size factor m good for so few.

        Raises:
            ConfigurationError: K below 0, or a sampler other than Langevin.
        """
        check_integer("steps", num_steps, low=0)
        sampler = self.generation.sampler
        if not isinstance(sampler, Langevin):
            raise ConfigurationError(f"steps are those of Langevin; the run's sampler is {sampler!r}")
        short = copy.copy(self)
        short.generation = copy.copy(self.generation)
        short.generation.sampler = sampler.shortened(num_steps)
        return short

    def composed_with(self, others: Sequence[Run], weights: Sequence[float]) -> Run:
        """This run with the composition of its model and others' in the place of its networks (spec §8).

        Args:
            others: runs with the same schedule, b² included.
            weights: w_m, this run's first.

        Raises:
            ConfigurationError: models that can't be composed.
        """
        for other in others:
            if not self.method.schedule.same_as(other.method.schedule):
                raise ConfigurationError(
                    f"{other.folder} has another schedule than {self.folder}: only models that share levels "
                    "and b² can be composed (spec §8)"
                )
        everyone, composed = [self, *others], copy.copy(self)
        composed.energy = EnergySum([run.energy for run in everyone], weights)
        initializers = [run.initializer for run in everyone]
        if not all(isinstance(initializer, CopyInitializer) for initializer in initializers):
            composed.initializer = InitializerSum(initializers, weights)
        return composed

    def with_conditions(self, labels: Sequence[int], weights: Sequence[float]) -> Run:
        """This run with a composition of classes in the place of its guidance (spec §8)."""
        if self.energy.num_classes == 0:
            raise ConfigurationError("the run was trained without labels: there are none to compose")
        self.labels(list(labels), len(labels))
        conditioned = copy.copy(self)
        conditioned.generation = copy.copy(self.generation)
        conditioned.generation.guidance = Composition(labels, weights)
        return conditioned

    def labels(self, label: int | Sequence[int] | Tensor | None, num: int) -> Tensor | None:
        """Labels (num,) from one or many, checked against the model."""
        if label is None:
            return None
        known = self.energy.num_classes
        if known == 0:
            raise ConfigurationError(
                "the run was trained without labels (NUM_CLASSES = 0): leave the label out"
            )
        labels = torch.as_tensor(label, dtype=torch.int64)
        labels = labels.expand(num) if labels.ndim == 0 else labels
        if labels.shape != (num,):
            raise ConfigurationError(f"{num} labels are needed, or one for all; got {labels.numel()}")
        wrong = labels[(labels < -1) | (labels >= known)]
        if len(wrong):
            raise ConfigurationError(f"a label must be in 0..{known - 1} (-1 = none), got {int(wrong[0])}")
        return labels

    def label_of(self, name: str) -> int:
        """A class's number, from its number or its name."""
        try:
            return int(name)
        except ValueError:
            pass
        names = self.data.class_names
        if name not in names:
            raise ConfigurationError(
                f"no class is named {name!r}.{nearest(name, names)} Give its number, 0.."
                f"{self.energy.num_classes - 1}"
            )
        return names.index(name)

    def guided(self, scale: float | None) -> Generation:
        """The run's generation, with classifier-free guidance of a given scale."""
        if scale is None:
            return self.generation
        if self.energy.num_classes == 0:
            raise ConfigurationError("the run was trained without labels: guidance has nothing to guide with")
        generation = copy.copy(self.generation)
        generation.guidance = ClassifierFreeGuidance(float(scale))
        return generation


def load(
    folder: str | Path,
    checkpoint: str | Path | None = None,
    weights: str = "ema",
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    trust_imports: bool = False,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Run:
    """Rebuild a run.

    Args:
        folder: the run's.
        checkpoint: one of its checkpoints; "best": that of its best step; None: the newest whole one.
        weights: "ema" or "live".
        overrides: gin bindings over the run's own, such as "Langevin.num_steps=30".
        imports: modules of the user's own, those that the run was trained with among them.
        trust_imports: import what the folder names; it is code, which a stranger's folder may name too.
        parts: registered names -> arguments of components to build beside the run's own, with its bindings
            and the overrides, such as {"chains/Langevin": {"num_steps": 20}}.

    Raises:
        CheckpointError, ConfigurationError: what is missing or doesn't fit, in one line.
    """
    for binding in overrides:
        if binding.split("=")[0].strip().endswith("Schedule.num_levels"):
            raise ConfigurationError(
                f"{binding.strip()}: a run is sampled on the levels it was trained on, its networks know no "
                "other steps between levels: take fewer chain steps (--steps), or train with fewer levels"
            )
    folder = Path(folder)
    built = saved_config(folder, overrides, imports, trust_imports)
    if checkpoint == "best":
        checkpoint = checkpoints.best(folder)
    run = Run(folder, built, Path(checkpoint) if checkpoint else checkpoints.latest(folder), weights)
    run.parts = {name: built.build(name, given) for name, given in (parts or {}).items()}
    built.check_used()
    return run


def save_config(folder: Path, built: config.Config) -> None:
    """Write the configuration into the run folder: bindings as gin without imports, imports as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    imports = json.dumps({"imports": list(built.imports)}, indent=1) + "\n"
    for name, text in ((CONFIG, built.text), (IMPORTS, imports), ("operative.gin", built.resolved())):
        durable.replace_file(folder / name, text)


def saved_config(
    folder: Path, overrides: Sequence[str] = (), imports: Sequence[str] = (), trust_imports: bool = False
) -> config.Config:
    """The configuration that a run folder holds; reading it runs no code but that of `imports`.

    Raises:
        CheckpointError: the run needs modules that are neither in `imports` nor in use here already, and
            `trust_imports` doesn't say that its folder may name them.
    """
    if not (folder / CONFIG).is_file():
        siblings = (
            [str(p.parent) for p in folder.parent.glob(f"*/{CONFIG}")] if folder.parent.is_dir() else []
        )
        raise CheckpointError(
            f"{folder} is not the folder of a run: it has no {CONFIG}.{nearest(str(folder), siblings)}"
        )
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {fault}") from fault
    saved = _saved_imports(folder / IMPORTS)
    if not trust_imports:
        named = {_module_name(name) for name in imports}
        for name in saved:
            if _module_name(name) not in named and not is_imported(name):
                raise CheckpointError(
                    f"{folder} was trained with code of its own, {name}: give that by --import, or "
                    "--trust-imports to run what the folder names"
                )
        saved = [name for name in saved if _module_name(name) not in named]
    return config.load_text(text, overrides, [*saved, *imports])


def _saved_imports(file: Path) -> list[str]:
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))["imports"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise CheckpointError(f'{file} must hold {{"imports": [...]}} ({fault!r})') from fault
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise CheckpointError(f'{file} must hold {{"imports": [...]}} of names')
    return saved


def _module_name(name: str) -> str:
    """A module as the user may name it again: a file from another folder is the same one."""
    return Path(name).name if name.endswith(".py") else name


def is_bound(built: config.Config, key: str) -> bool:
    """Whether the configuration gives "Name.parameter" a value of its own."""
    return any(line.startswith(f"{key} = ") for line in built.text.splitlines())
