"""The configurations of accelerate are ones it takes, and the SLURM job is queued again after 75 alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "name, machines, processes", [("one_gpu", 1, 1), ("eight_gpus", 1, 8), ("two_nodes", 2, 16)]
)
def test_accelerate_takes_the_configurations(name, machines, processes):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(ROOT / "launchers" / f"{name}.yaml"))
    assert (found.num_machines, found.num_processes) == (machines, processes)
    assert str(getattr(found.distributed_type, "value", found.distributed_type)) == (
        "NO" if processes == 1 else "MULTI_GPU"
    )
    assert found.mixed_precision == "bf16"


@pytest.mark.parametrize("code, begun", [(75, False), (75, True), (0, True), (2, False), (3, False)])
def test_the_slurm_job_is_queued_again_after_75_alone(tmp_path, code, begun):
    """With commands of SLURM's names that write down what they are asked."""
    commands = {
        "srun": f'SLURM_PROCID=9 SLURM_LOCALID=1 SLURM_NTASKS=16 "$@"; exit {code}',
        "scontrol": 'echo "$@" >> asked; echo node0; echo node1',
        "python": 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $@" > started',
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    if begun:
        (tmp_path / "runs/mine/checkpoints/step_00000002").mkdir(parents=True)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[0-1]",
    }
    words = ["bash", str(ROOT / "launchers/slurm.sh"), "gin/mine.gin", "--keep", "2"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == code
    asked = (tmp_path / "asked").read_text()
    assert ("requeue 7" in asked) == (code == 75)
    resume = " --resume" if begun else ""
    assert (tmp_path / "started").read_text() == (
        f"9 1 16 node0 launch.py --gin gin/mine.gin --output runs/mine{resume} --keep 2\n"
    )
