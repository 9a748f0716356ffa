"""The record of a run watches its samples: healthy losses prove nothing."""

import json
import re
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modules.core.types import Batch, LossOutput
from modules.data.points import Checkerboard
from modules.energies.mlp import MLPEnergy
from modules.evaluation.evaluation import Evaluation, Evaluator
from modules.features.pixels import RawPixels
from modules.initializers.mlp import MLPInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.mode_mass import ModeMass
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.training.diary import Diary
from modules.training.ema import EMA
from modules.training.inspection import Inspection
from modules.training.optimizers import AdamW
from modules.training.state import Training

torch.set_num_threads(1)


def _begun(folder: Path, clip_norm: float | None = None) -> tuple[Training, Inspection]:
    """A run of small networks on points that has done nothing yet."""
    torch.manual_seed(0)
    energy, initializer = MLPEnergy((2,), width=8, depth=1), MLPInitializer((2,), width=8, depth=1)
    method = RecoveryLikelihood(energy, initializer, CosineSchedule(), Langevin(1), shared_noise=True)
    data, runtime = Checkerboard(length=1000), Runtime(trackers=())
    optimizers = {"energy": AdamW(clip_norm=clip_norm), "initializer": AdamW()}
    training = Training(method, optimizers, EMA(), runtime, seed=0)
    diary = Diary(folder, training, 10, 8)
    generation = Generation(Langevin(1), denoise_factor=0.0)
    return training, Inspection(diary, generation, None, data.open(), 200)


def test_samples_that_get_worse_are_reported(tmp_path: Path, capsys) -> None:
    training, inspection = _begun(tmp_path)
    inspection.sample()
    inspection.sample()
    assert "got worse" not in capsys.readouterr().out
    with torch.no_grad():
        training.averages["initializer"].head.bias.fill_(5.0)  # proposals fly off to one side
    inspection.sample()
    inspection.diary.close()
    assert "got worse" in capsys.readouterr().out

    distances = [json.loads(line)["sample_distance"] for line in (tmp_path / "metrics.jsonl").open()]
    assert distances[0] == distances[1] and distances[2] > 1.5 * distances[0]


def test_a_picture_of_the_newest_batchs_chains(tmp_path: Path) -> None:
    """One beside each picture of samples, once there has been a step."""
    training, inspection = _begun(tmp_path)
    inspection.sample()
    assert not list((tmp_path / "proposals").iterdir())
    batch = Batch(torch.rand(8, 2) * 2 - 1, torch.full((8,), -1))
    inspection.diary.watch(*training.step([batch], [range(8)]))
    inspection.sample()
    inspection.diary.close()
    assert [path.name for path in (tmp_path / "proposals").iterdir()] == ["step_00000001.png"]


def test_the_method_sees_the_averages(tmp_path: Path) -> None:
    training, inspection = _begun(tmp_path)
    inspection.diary.close()
    assert training.method.averages is training.averages
    assert not any(name.startswith("averages") for name in training.method.state_dict())


def _rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_the_share_of_clipped_steps_is_that_since_the_last_row(tmp_path: Path) -> None:
    training, inspection = _begun(tmp_path, clip_norm=1.0)
    diary = inspection.diary
    for step, norms in enumerate(([0.5, 3.0, 1.0, 1.01], [0.1, 0.2]), start=1):
        for norm in norms:
            diary.watch({"grad_norm/energy": norm, "grad_norm/initializer": 9.0}, [])
        training.num_steps_done = step
        diary.log()
    diary.close()
    rows = _rows(tmp_path)
    assert [row["clipped/energy"] for row in rows] == [0.5, 0.0]
    assert [row["grad_norm/energy"] for row in rows] == [1.01, 0.2]
    assert all("clipped/initializer" not in row for row in rows)  # it has no clip_norm


def test_going_back_forgets_what_came_after(tmp_path: Path) -> None:
    training, inspection = _begun(tmp_path, clip_norm=1.0)
    diary = inspection.diary
    for step in (1, 2, 3):
        diary.watch({"grad_norm/energy": 2.0}, [])
        training.num_steps_done = step
        diary.log()
        if step == 1:
            diary.note_unlogged()
    diary.watch({"grad_norm/energy": 2.0}, [])
    diary.go_back(1)
    training.num_steps_done = 2
    diary.watch({"grad_norm/energy": 0.5}, [])
    diary.log()
    diary.close()
    rows = _rows(tmp_path)
    assert [(row["step"], row["clipped/energy"]) for row in rows] == [(1, 1.0), (2, 0.0)]
    assert rows[0]["seconds"] <= rows[1]["seconds"]


def test_a_row_after_going_back_is_of_all_steps_since_the_last_row(tmp_path: Path) -> None:
    """A row at step 1, a checkpoint at 2, a divergence after 3, a row at 4: of steps 2, 3 and 4."""
    training, inspection = _begun(tmp_path, clip_norm=1.0)
    diary = inspection.diary
    for step, norm in ((1, 2.0), (2, 2.0), (3, 0.5)):
        diary.watch({"grad_norm/energy": norm}, [])
        training.num_steps_done = step
        if step == 1:
            diary.log()
        if step == 2:
            diary.note_unlogged()
    diary.go_back(2)
    for step, norm in ((3, 2.0), (4, 0.5)):
        diary.watch({"grad_norm/energy": norm}, [])
        training.num_steps_done = step
    diary.log()
    diary.close()
    assert [(row["step"], row["clipped/energy"]) for row in _rows(tmp_path)] == [(1, 1.0), (4, 0.6666667)]


def test_tensorboard_shows_what_the_journal_holds(tmp_path: Path) -> None:
    """After a kill at step 4 and a resume from 2, then a rollback to 3: each step once, the newest values."""
    training, _ = _begun(tmp_path)
    training.runtime = Runtime(trackers=("tensorboard",))
    value = 0.0

    def steps(diary: Diary, *numbers: int) -> None:
        nonlocal value
        for step in numbers:
            value += 1
            training.num_steps_done = step
            diary.write({"value": value})

    steps(Diary(tmp_path, training, 10, 8), 1, 2, 3, 4)  # never closed
    training.num_steps_done, training.runtime = 2, Runtime(trackers=("tensorboard",))
    diary = Diary(tmp_path, training, 10, 8)
    steps(diary, 3, 4, 5)
    diary.go_back(3)
    steps(diary, 4, 5, 6)
    diary.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("value")]
    assert seen == [(1, 1.0), (2, 2.0), (3, 5.0), (4, 8.0), (5, 9.0), (6, 10.0)]
    assert seen == [(row["step"], row["value"]) for row in _rows(tmp_path)]


def _beside_the_bar(folder: Path, watch: dict[str, torch.Tensor], capsys) -> tuple[dict[str, float], str]:
    """The row and the bar's last line of a step with two losses and the figures to watch."""
    training, inspection = _begun(folder)
    diary = inspection.diary
    loss = {"energy": torch.tensor(0.5), "initializer": torch.tensor(2.0)}
    figures = {f"loss/{name}": value for name, value in loss.items()}
    diary.watch(figures, [LossOutput(loss, torch.tensor([1, 2]), watch)])
    training.num_steps_done = 1
    diary.log()
    diary.close()
    return _rows(folder)[0], capsys.readouterr().err.splitlines()[-1]


def test_the_bar_shows_what_there_is(tmp_path: Path, capsys) -> None:
    """Energies of data alone have no gap: the losses stand in its place."""
    data = {"energy_positive": torch.tensor([1.0, 3.0])}
    chains = {"energy_negative": torch.tensor([0.5, 0.5])}
    row, line = _beside_the_bar(tmp_path / "data", data, capsys)
    assert not any(name.startswith("gap") for name in row)
    assert line.endswith("energy_positive=2, loss/energy=0.5, loss/initializer=2]")
    row, line = _beside_the_bar(tmp_path / "both", data | chains, capsys)
    assert (row["gap"], row["gap/1"], row["gap/2"]) == (1.5, 0.5, 2.5)
    assert line.endswith("energy_positive=2, energy_negative=0.5, gap=1.5, loss/initializer=2]")


def _evaluator(inspection: Inspection, num: int = 20) -> Evaluator:
    evaluation = Evaluation([ModeMass()], RawPixels(), num=num, num_references=20, batch_size=8)
    return evaluation.open(Checkerboard(length=100), inspection.runtime)


def test_looking_at_samples_has_a_bar_over_their_levels(tmp_path: Path, capsys, monkeypatch) -> None:
    """Of six levels a batch: 200 samples are one, an evaluation of 20 by eight is three."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    _, inspection = _begun(tmp_path)
    inspection.sample()
    assert re.search(r"sampling: .* 0/6 ", capsys.readouterr().err)
    inspection.evaluator = _evaluator(inspection)
    assert "total_variation" in inspection.evaluate()
    inspection.diary.close()
    assert re.search(r"sampling: .* 0/18 ", capsys.readouterr().err)


def test_a_signal_gives_an_evaluation_up(tmp_path: Path, monkeypatch) -> None:
    """Nothing is measured or written; without it there is."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    _, inspection = _begun(tmp_path)
    inspection.evaluator = _evaluator(inspection, 8)
    inspection.runtime.signals.code = 75
    assert inspection.evaluate() == {}
    assert not (tmp_path / "evaluations").exists() and _rows(tmp_path) == []
    inspection.runtime.signals.code = 0
    assert "total_variation" in inspection.evaluate()
    inspection.diary.close()
    assert len(list((tmp_path / "evaluations").iterdir())) == 1
    assert "total_variation" in _rows(tmp_path)[0]


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch) -> None:
    """A file lies where the cache's folder would be: the references are measured each time."""
    _, inspection = _begun(tmp_path)
    values = []
    for name in ("folder", "file"):
        monkeypatch.setenv("HF_HOME", str(tmp_path / name))
        if name == "file":
            (tmp_path / name).write_text("")
        inspection.evaluator = _evaluator(inspection, 8)
        values.append(inspection.evaluate())
    inspection.diary.close()
    assert values[0] == values[1] and values[0]
    assert (tmp_path / "file").is_file()
