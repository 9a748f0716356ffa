"""Mutated checkpoint folders: one line or the same state; nothing hangs, executes or is lost."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors

import launch
from modules.core.checks import UserError
from modules.storage import checkpoints
from modules.storage.manifest import signed
from tests.training.test_resume import POINTS

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("fuzz")
    text = POINTS.replace("NUM_STEPS = 8", "NUM_STEPS = 2").replace("WARM_STEPS = 6", "WARM_STEPS = 2")
    (folder / "points.gin").write_text(text.replace("sample_every = 3", "sample_every = 0"))
    assert launch.main(["--gin", str(folder / "points.gin"), "--output", str(folder / "run")]) == 0
    return folder / "run"


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.place),))


def _npz(place: Path) -> bytes:
    file = io.BytesIO()
    np.savez(file, weight=np.array([Bomb(place)], dtype=object))
    return file.getvalue()


def _header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def _absurd_headers(chance: random.Random) -> bytes:
    """Safetensors with lengths, offsets, shapes, types and nesting that lie."""
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    bodies = [
        _header(b"{}", 2**63),
        _header(b"{}", 2**64 - 1),
        _header(b"{}", 99_999_999),
        _header(json.dumps({"w": {**tensor, "shape": [2**62, 4]}}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "shape": [2**32, 2**32]}}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "data_offsets": [0, 2**60]}}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "data_offsets": [8, 0]}}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "shape": [-1]}}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "dtype": "OBJECT"}}).encode()) + bytes(8),
        _header(json.dumps({"w": tensor, "v": tensor}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "dtype": "F8_E4M3", "shape": [8]}}).encode()) + bytes(8),
        _header(json.dumps({"w": {**tensor, "dtype": "F4", "shape": [16]}}).encode()) + bytes(8),
        _header(b'{"w":' * 5000 + b"1" + b"}" * 5000),
        _header(b"\xff\xfe" * 40),
        b"",
        b"\x00" * 7,
    ]
    return chance.choice(bodies)


def _somewhere(chance: random.Random, folder: Path) -> Path:
    return chance.choice(sorted(folder.iterdir()))


def _flip_bits(chance: random.Random, folder: Path, bomb: Path) -> None:
    path = _somewhere(chance, folder)
    data = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _cut(chance: random.Random, folder: Path, bomb: Path) -> None:
    path = _somewhere(chance, folder)
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def _grow(chance: random.Random, folder: Path, bomb: Path) -> None:
    path = _somewhere(chance, folder)
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 100)))


def _make_huge(chance: random.Random, folder: Path, bomb: Path) -> None:
    os.truncate(_somewhere(chance, folder), 2**41)  # sparse: two terabytes of zeros


def _remove(chance: random.Random, folder: Path, bomb: Path) -> None:
    for _ in range(chance.randrange(1, 9)):
        _somewhere(chance, folder).unlink() if any(folder.iterdir()) else None


def _swap(chance: random.Random, folder: Path, bomb: Path) -> None:
    one, other = chance.sample(sorted(folder.iterdir()), 2)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def _put_something_else(chance: random.Random, folder: Path, bomb: Path) -> None:
    path = _somewhere(chance, folder)
    path.unlink()
    chance.choice(
        [
            lambda: os.mkfifo(path),
            path.mkdir,
            lambda: path.symlink_to(path),
            lambda: path.symlink_to("/dev/zero"),
            lambda: path.symlink_to("nowhere"),
        ]
    )()


def _put_code(chance: random.Random, folder: Path, bomb: Path) -> None:
    """Pickles in every format that some loader would unpickle."""
    path = _somewhere(chance, folder)
    file = io.BytesIO()
    torch.save({"weight": Bomb(bomb)}, file)
    path.write_bytes(chance.choice([pickle.dumps(Bomb(bomb)), _npz(bomb), file.getvalue()]))
    for name in ("random_states_0.pkl", "optimizer.bin", "pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Bomb(bomb)))


ODD = (None, True, -1, 2**70, 1.5, float("nan"), "", "../../x", [], {}, [[1]], {"a": {}}, "\x00", "é" * 50)


def _forge_state(chance: random.Random, folder: Path, bomb: Path) -> None:
    """Odd values in state.json, under a manifest that is right about it."""
    state = json.loads((folder / "state.json").read_text())
    key = chance.choice([*state, "updates", "groups"])
    value = chance.choice(ODD)
    if isinstance(state[key], dict) and chance.random() < 0.5:
        state[key][chance.choice(list(state[key]))] = value
    elif isinstance(state[key], list) and chance.random() < 0.5:
        state[key].append(value)
    else:
        state[key] = value
    text = json.dumps(state)
    (folder / "state.json").write_text("[" * 100_000 if chance.random() < 0.1 else text)
    _forge_manifest(folder)


def _forge_tensors(chance: random.Random, folder: Path, bomb: Path) -> None:
    """Absurd headers, odd shapes and types, under a manifest that is right about them."""
    path = chance.choice(sorted(folder.glob("*.safetensors")))
    if chance.random() < 0.5:
        path.write_bytes(_absurd_headers(chance))
    else:
        tensors, _ = checkpoints.load(folder)
        group = tensors[path.stem]
        name = chance.choice([*group, "new", "7.exp_avg", "x.y", "nodot", "0.step"])
        kinds = (torch.float64, torch.int8, torch.bool, torch.complex64, torch.bfloat16)
        shape = chance.choice([(), (0,), (3,), (1, 2, 3)])
        group[name] = torch.zeros(shape).to(chance.choice(kinds))
        path.write_bytes(to_safetensors(group))
    _forge_manifest(folder)


def _forge_manifest(folder: Path, change: Callable[[dict], None] = lambda about: None) -> None:
    """Sizes, hashes and the checksum made right again, as a stranger can make them."""
    about = json.loads((folder / "manifest.json").read_text())
    for path in folder.iterdir():
        if path.name != "manifest.json":
            data = path.read_bytes()
            about["files"][path.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    del about["sha256"]
    change(about)
    (folder / "manifest.json").write_text(signed(about))


def _forge_listing(chance: random.Random, folder: Path, bomb: Path) -> None:
    """Odd values in the manifest itself."""

    def change(about: dict) -> None:
        value = chance.choice(ODD)
        if chance.random() < 0.5:
            about[chance.choice(list(about))] = value
        else:
            about["files"][chance.choice([*about["files"], "../../../etc/passwd", "x.pkl"])] = value

    _forge_manifest(folder, change)


def _empty(chance: random.Random, folder: Path, bomb: Path) -> None:
    shutil.rmtree(folder)
    if chance.random() < 0.5:
        folder.mkdir()
    else:
        folder.write_bytes(b"a file where a folder should be")


MUTATIONS = (
    *(_flip_bits, _cut, _grow, _make_huge, _remove, _swap, _put_something_else, _put_code),
    *(_forge_state, _forge_tensors, _forge_listing, _empty),
)


@pytest.mark.parametrize("count", [48, pytest.param(500, marks=pytest.mark.slow)])
def test_mutated_folders(run, tmp_path, monkeypatch, capsys, count):
    monkeypatch.chdir(tmp_path)
    first = checkpoints.path_of(run, 1)
    original = checkpoints.load(checkpoints.path_of(run, 2))
    bomb = tmp_path / "executed"
    refused = same = forged = 0
    for number in range(count):
        chance = random.Random(number)
        mutate = MUTATIONS[number % len(MUTATIONS)]
        mutant = tmp_path / "mutant"
        shutil.rmtree(mutant, ignore_errors=True)
        shutil.copytree(run, mutant)
        path = checkpoints.path_of(mutant, 2)
        mutate(chance, path, bomb)
        what = f"{number}: {mutate.__name__}"
        began = time.monotonic()
        # loading: one line that names the folder, or what was saved; only a forger may change anything
        try:
            loaded = checkpoints.load(path)
        except UserError as fault:
            refused += 1
            assert "\n" not in str(fault) and str(path) in str(fault), what
            found = checkpoints.latest(mutant)
            assert found == checkpoints.path_of(mutant, 1), what
            _assert_equal(checkpoints.load(found), checkpoints.load(first))
        else:
            if mutate in (_forge_state, _forge_tensors, _forge_listing):
                forged += 1
                resume = ["--resume", str(path), "--output", str(tmp_path / "resumed"), "--allow-changes"]
                code = launch.main([*resume, "--allow-inexact", "--set", "NUM_STEPS=3"])
                printed = capsys.readouterr()
                assert code == 0 or (code == 2 and "error: " in printed.err), what
                shutil.rmtree(tmp_path / "resumed", ignore_errors=True)
            else:
                same += 1
                _assert_equal(loaded, original)
        # using it: by verify, which builds and restores everything, and by a task
        capsys.readouterr()
        assert launch.main(["--task", "verify", "--run", str(mutant)]) in (0, 1), what
        generate = ["--task", "generate", "--run", str(mutant), "--checkpoint", str(path), "--num", "1"]
        code = launch.main([*generate, "--output", str(tmp_path / "out")])
        printed = capsys.readouterr()
        assert code == 0 or (code == 2 and printed.err.count("\n") == 1), f"{what}: {printed.err}"
        assert "Traceback" not in printed.err + printed.out, what
        assert time.monotonic() - began < 20, what
        assert not bomb.exists(), what
    print(f"{count} folders: {refused} refused, {forged} forgeries read, {same} unchanged; none executed")
    assert refused > count / 2


def _assert_equal(one, other) -> None:
    assert one[1] == other[1] and one[0].keys() == other[0].keys()
    for group, tensors in one[0].items():
        assert tensors.keys() == other[0][group].keys()
        assert all(torch.equal(value, other[0][group][name]) for name, value in tensors.items()), group


def test_the_bomb_goes_off_where_it_is_unpickled(tmp_path):
    """Else nothing above would tell that it does not."""
    place = tmp_path / "executed"
    pickle.loads(pickle.dumps(Bomb(place)))
    assert place.exists()
    place.rmdir()
    np.load(io.BytesIO(_npz(place)), allow_pickle=True)["weight"]
    assert place.exists()


def test_a_strangers_configuration_executes_nothing(run, tmp_path, capsys):
    """Import statements in the saved text, modules in config.json, in files beside it or installed."""
    bomb = tmp_path / "executed"
    mutant = Path(shutil.copytree(run, tmp_path / "mutant"))
    (mutant / "evil.py").write_text(f"import os; os.mkdir({str(bomb)!r})\n")
    text = (mutant / "config.gin").read_text()
    for line in ("import evil", "from mutant import evil", f"include {str(mutant / 'evil.py')!r}"):
        (mutant / "config.gin").write_text(f"{line}\n{text}")
        _assert_refused(mutant, capsys, bomb)
    (mutant / "config.gin").write_text(text)
    for imports in ([str(mutant / "evil.py")], ["this"], ["mutant.evil"], [1], "evil", {"a": 1}, None):
        (mutant / "config.json").write_text(json.dumps({"imports": imports}))
        _assert_refused(mutant, capsys, bomb)
    (mutant / "config.json").write_text("[" * 100_000)
    _assert_refused(mutant, capsys, bomb)


def _assert_refused(run: Path, capsys, bomb: Path) -> None:
    for words in (
        ["--task", "generate", "--run", str(run), "--num", "1"],
        ["--task", "verify", "--run", str(run)],
        ["--output", str(run), "--resume"],
        ["--output", str(run.parent / "branch"), "--resume", str(checkpoints.path_of(run, 1))],
    ):
        capsys.readouterr()
        assert launch.main(words) == 2, words
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1 and "Traceback" not in printed.err
        assert not bomb.exists() and "Zen of Python" not in printed.out
