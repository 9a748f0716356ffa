"""A save that fails, or dies, at any point leaves what was there before, and nothing that looks like more."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from modules.core.checks import CheckpointError, CheckpointWriteError
from modules.storage import checkpoints, durable
from tests import faults, forks


def save(run: str, step: int, keep: int = 1) -> None:
    """A checkpoint whose tensors tell its step, and what a trainer does after it."""
    tensors = {"energy": {"weight": torch.full((300,), float(step))}, "energy_ema": {"w": torch.ones(3)}}
    checkpoints.save(checkpoints.path_of(Path(run), step), tensors, {"step": step})
    checkpoints.prune(Path(run), keep)


def save_and_die(run: str, step: int, point: int) -> None:
    """The same, killed at an operation."""
    with faults.at(point, faults.death):
        save(run, step)


def _points(tmp_path: Path, step: int) -> list[str]:
    """The operations of a save beside an earlier checkpoint."""
    save(str(tmp_path / "count"), 1)
    with faults.counting() as seen:
        save(str(tmp_path / "count"), step)
    return seen


def _step(run: Path) -> int:
    """The step of the newest whole checkpoint, whose tensors are that step's."""
    tensors, state = checkpoints.load(checkpoints.latest(run))
    assert tensors["energy"]["weight"].unique().tolist() == [state["step"]]
    return state["step"]


def _assert_nothing_broken(run: Path) -> None:
    for path in checkpoints.all_of_run(run):
        checkpoints.load(path)


def test_the_order_of_a_save(tmp_path):
    """Every file is on the disk before the rename, the folder after it, and only then the old one goes."""
    assert _points(tmp_path, 2) == [
        "mkdir",
        *["open", "write", "fsync"] * 4,  # two groups, the state, the manifest
        *["fsync", "rename", "fsync"],  # the folder itself, its name, its parent
        "rename",
        *["unlink"] * 4,
        "rmdir",
    ]


@pytest.mark.parametrize("step", [2, 1], ids=["a new step", "the same step again"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("fault", [faults.full_disk, faults.broken_disk])
def test_a_fault_at_every_point(tmp_path, fault, lasting, step):
    points = _points(tmp_path, step)
    failed = 0
    for point in range(1, len(points) + 1):
        run = tmp_path / f"run{point}"
        save(str(run), 1)
        try:
            with faults.at(point, fault, lasting) as seen:
                save(str(run), step)
        except CheckpointWriteError as error:
            failed += 1
            assert os.strerror(errno.ENOSPC if fault is faults.full_disk else errno.EIO) in str(error)
            assert error.path == checkpoints.path_of(run, step) and error.bytes_needed == 1212
            assert "\n" not in str(error)
        assert len(seen) >= point
        if step == 1:
            checkpoints.clean(run / "checkpoints")  # as every start does
        assert _step(run) in (1, step)
        _assert_nothing_broken(run)
        if not lasting:
            assert durable.leftovers(run / "checkpoints") == [] or points[point - 1] in ("unlink", "rmdir")
        save(str(run), 3)  # the disk is well again
        assert _step(run) == 3
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_00000003"]
    assert failed >= 16  # all points before the deletion of what is old


@pytest.mark.parametrize("step", [2, 1], ids=["a new step", "the same step again"])
def test_death_at_every_point(tmp_path, parent, step):
    points = _points(tmp_path, step)
    for point in range(1, len(points) + 1):
        run = tmp_path / f"run{point}"
        save(str(run), 1)
        arguments = [str(run), step, point]
        code = parent.run(
            "tests.storage.test_checkpoint_faults:save_and_die", arguments, tmp_path, tmp_path / "log"
        )
        assert code == -9, (tmp_path / "log").read_text()
        if step == 1:
            checkpoints.clean(run / "checkpoints")  # as every start does
        assert _step(run) in (1, step)
        _assert_nothing_broken(run)
        save(str(run), 3)
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_00000003"]


def test_the_system_refuses_to_write_on(tmp_path):
    """A real refusal: files may have 1,000 bytes at most; the larger one of the tensors has more."""
    save(str(tmp_path), 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CheckpointWriteError, match="File too large; it needs about 1,212 bytes"):
            save(str(tmp_path), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _step(tmp_path) == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]


def test_other_errors_leave_nothing_either(tmp_path):
    save(str(tmp_path), 1)
    with pytest.raises(TypeError):
        checkpoints.save(checkpoints.path_of(tmp_path, 2), {}, {"step": 2, "odd": object()})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]


def test_an_old_checkpoint_that_cannot_be_deleted_stops_nothing(tmp_path, caplog):
    save(str(tmp_path), 1)
    before = _points(tmp_path, 2).index("fsync", 15) + 2  # the rename that begins the deletion
    with faults.at(before, faults.broken_disk):
        save(str(tmp_path), 2)
    assert _step(tmp_path) == 2
    assert "cannot delete the old checkpoint" in caplog.text


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 64 KiB, where the system lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no right to mount a file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full(small_disk):
    big = {"g": {"w": torch.zeros(10_000)}}
    checkpoints.save(checkpoints.path_of(small_disk, 1), big, {"step": 1})
    with pytest.raises(CheckpointWriteError, match="No space left on device; it needs about 40,000 bytes"):
        checkpoints.save(checkpoints.path_of(small_disk, 2), big, {"step": 2})
    assert checkpoints.load(checkpoints.latest(small_disk))[1]["step"] == 1
    assert [path.name for path in (small_disk / "checkpoints").iterdir()] == ["step_00000001"]


@pytest.mark.slow
def test_a_disk_that_is_read_only(small_disk):
    save(str(small_disk), 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CheckpointWriteError, match="Read-only file system"):
        save(str(small_disk), 2)
    assert _step(small_disk) == 1
    program = (
        "import sys, launch; "
        f"sys.exit(launch.main(['--gin', 'gin/cdrl_digits.gin', '--output', {str(small_disk / 'run')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=forks.ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "is not yours to write to" in done.stderr


def test_a_replaced_file_is_old_or_new(tmp_path):
    path = tmp_path / "config.gin"
    durable.replace_file(path, "old")
    with faults.counting() as points:
        durable.replace_file(path, "new")
    assert points.index("replace") > points.index("fsync")
    for point in range(1, len(points) + 1):
        durable.replace_file(path, "old")
        with pytest.raises(OSError), faults.at(point):
            durable.replace_file(path, "new")
        assert path.read_text() == ("new" if point > points.index("replace") + 1 else "old")
        assert [entry.name for entry in tmp_path.iterdir()] == ["config.gin"]


def test_errors_are_of_the_users_kind():
    assert issubclass(CheckpointWriteError, CheckpointError)
