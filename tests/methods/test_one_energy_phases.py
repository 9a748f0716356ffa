"""Which of one energy's losses count at which step, and that none is computed in vain."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.losses.contrast import RecoveryContrast
from modules.losses.fokker_planck import FokkerPlanck
from modules.losses.score import LevelScore, ScoreMatching
from tests.methods.quadratic import method_of, step_of

torch.set_num_threads(1)


def test_phases_add_up_and_save_what_they_dont_need(monkeypatch) -> None:
    """Score in steps 0..4, level in 1..3, recovery from 3: no chain is run and no slope asked in vain."""
    method = method_of(
        level_score=LevelScore(weight=0.4, first_step=1, last_step=4),
        recovery=RecoveryContrast(weight=3.0, first_step=3),
        score=ScoreMatching(last_step=5),
    )
    ran: list[str] = []
    sample, slopes = method.sampler.sample, method.energy.slopes
    monkeypatch.setattr(method.sampler, "sample", lambda *a: ran.append("chain") or sample(*a))
    monkeypatch.setattr(method.energy, "slopes", lambda *a: ran.append("slopes") or slopes(*a))
    parts = {"score": ["score_loss"], "level": ["level_loss"]}
    expected = [["score"], ["score", "level"], ["score", "level"], ["score", "level", "chain"],
                ["score", "chain"], ["chain"]]  # fmt: skip
    for step, wanted in enumerate(expected):
        ran.clear()
        out = step_of(method, step)
        for name, (figure,) in parts.items():
            assert (figure in out.watch) == (name in wanted), step
        assert ("energy_positive" in out.watch) == ("chain" in wanted) == ("chain" in ran), step
        assert ("slopes" in ran) == ("score" in wanted), step
        total = out.watch.get("score_loss", torch.zeros(1).double()).mean()
        total = total + 0.4 * out.watch.get("level_loss", torch.zeros(1).double()).mean()
        if "chain" in wanted:
            total = total + 3 * (out.watch["energy_positive"] - out.watch["energy_negative"]).mean()
        torch.testing.assert_close(out.losses["energy"].detach(), total, rtol=1e-12, atol=0)


def test_a_step_without_a_loss_is_refused() -> None:
    method = method_of(score=ScoreMatching(last_step=2), level_score=None, recovery=None)
    method.begin_step(1)
    with pytest.raises(ConfigurationError, match="no loss of OneEnergy counts at step 2: mend their"):
        method.begin_step(2)


def test_a_step_between_those_that_count_is_named_with_the_remedy() -> None:
    method = method_of(score=None, level_score=None, recovery=None, fokker_planck=FokkerPlanck(every=2))
    method.begin_step(2)
    with pytest.raises(ConfigurationError, match=r"^no loss of OneEnergy counts at step 3: .* and every$"):
        method.begin_step(3)
