"""Turn a published CDRL checkpoint into a run that every task takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote

from modules.core.checks import CheckpointError, ConfigurationError


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """The option of the file."""
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="a checkpoint of CDRL's published code, FILE.pth.tar"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write --output's configuration from --gin, and one checkpoint from --from."""
    if not arguments.source:
        raise ConfigurationError("--task import needs the published file: --from Cifar_10_best.pth.tar")
    if not arguments.gin:
        raise ConfigurationError("--task import needs its configuration: --gin gin/cdrl_cifar10.gin")
    for option in ("run", "resume"):
        if vars(arguments)[option]:
            raise ConfigurationError(f"--{option} is of runs: --task import makes one, in --output")

    from modules import config, published, runs
    from modules.storage import checkpoints
    from modules.storage.run_lock import run_lock
    from modules.training.state import Training

    source = Path(arguments.source)
    folder = Path(arguments.output or Path("runs") / source.name.split(".")[0])
    if checkpoints.all_of_run(folder):
        raise CheckpointError(f"{folder} holds a run already: name another folder by --output")
    content = published.read(source)
    built = config.load(arguments.gin, arguments.overrides, arguments.imports)
    trainer = built.build("Trainer")
    built.check_used()
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, trainer.seed)
    published.adopt(training, content)
    step = training.num_steps_done
    if arguments.dry_run:
        print(f"{source} fits: step {step:,}")
        return 0
    with run_lock(folder):
        runs.save_config(folder, built)
        checkpoints.save(checkpoints.path_of(folder, step), training.tensors(), training.numbers())
    print(f"{folder}: step {step:,} of {source.name}")
    print(f"sample it: python launch.py --task generate --run {quote(str(folder))} --num 64")
    anew = [name for name, learnt in content.networks.items() if not learnt.moments]
    if step >= trainer.num_steps:
        print(f"to train it further, import it with --set NUM_STEPS=N above {step:,}")
    else:
        note = f" (anew, as the file lacks it: the optimizer of the {' and the '.join(anew)})" if anew else ""
        print(f"train it further: python launch.py --output {quote(str(folder))} --resume{note}")
    return 0
