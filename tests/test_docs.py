"""What the documents show works as it stands, and what they link to and name is there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import torch

import launch
from modules import runs
from modules.contracts.networks import check_sampler
from modules.core.noise import Noise
from modules.energies.analytic import GaussianEnergy
from modules.energies.recovery import RecoveryPotential, energy_and_grad
from modules.schedules.cosine import CosineSchedule

pytestmark = pytest.mark.usefixtures("registrations")

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))}


def _read(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def _anchors(text: str) -> set[str]:
    """What headings are linked by: lower case, punctuation dropped, spaces as hyphens."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", _read(page))
    broken = []
    for target in targets:
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (PAGES[page].parent / name).resolve() if name else PAGES[page]
        if not path.is_file() or (anchor and anchor not in _anchors(path.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    """`modules/...`, `gin/...` and the like, in words and in commands."""
    named = re.findall(r"\b(?:modules|gin|tests|benchmarks|docs|examples|launchers)/[\w./-]*\w", _read(page))
    scripts = [f"{name.replace('.', '/')}.py" for name in re.findall(r"-m (benchmarks\.\w+)", _read(page))]
    assert [name for name in [*named, *scripts] if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_imports_are_from_rooms(page: str) -> None:
    """Users import from rooms, and the rooms have what the pages take from them."""
    for block in re.findall(r"```python\n(.*?)```", _read(page), re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("modules"):
                assert str(node.module).count(".") <= 1, ast.unparse(node)
                exec(ast.unparse(node), {})


def test_every_page_is_linked_from_the_readme_and_the_readme_is_short() -> None:
    text = _read("README.md")
    assert [page for page in PAGES if page != "README.md" and f"]({page})" not in text] == []
    assert len(text.splitlines()) <= 150


def test_the_energy_of_the_page_on_speed() -> None:
    """It gives parameters their gradients, and chains a snapshot without."""
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "speed.md").read_text(encoding="utf-8"), re.S)
    names: dict = {}
    exec(block, names)
    torch.manual_seed(0)
    energy = names["Bumps"]()
    transition = CosineSchedule().transition(torch.tensor([1, 3, 6]))
    y = torch.randn(3, 2)
    energy(y, transition).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in energy.parameters())
    bound = energy.at(transition)
    before, _ = energy_and_grad(bound, y)
    with torch.no_grad():
        for p in energy.parameters():
            p.mul_(2.0)
    after, slope = energy_and_grad(bound, y)
    assert torch.equal(after, before) and slope.shape == y.shape
    assert not torch.allclose(energy(y, transition), before)
    assert RecoveryPotential(bound, transition, y).grad(y).isfinite().all()


def test_the_sampler_of_the_readme() -> None:
    """It moves as far as it says, by the gradient where it is, and leaves alone what is given."""
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", _read("README.md"), re.S) if "Sampler)" in b)
    names: dict = {}
    exec(block, names)
    energy, t = GaussianEnergy((2,), 0.5), torch.tensor([1, 3, 6, 6])
    c = CosineSchedule().transition(t)
    x = Noise(0, torch.arange(4)).normal("x", (2,))
    check_sampler(names["GradientDescent"](), energy, x, c, None)

    class Bowl:
        def grad(self, y: torch.Tensor) -> torch.Tensor:
            return y

    y = names["GradientDescent"]().sample(Bowl(), x, torch.ones(4), None).y
    torch.testing.assert_close(y, x * 0.5**10)


def test_the_run_without_gin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains, loads by its folder, and is measured as it stands, with fewer steps and points."""
    (block,) = re.findall(r"```python\n(.*?)```", _read("docs/components.md"), re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for long, short in (("5000", "1"), ("256", "8"), ("(30)", "(1)"), ("num=500", "num=8"), ("64", "4")):
        assert long in block
        block = block.replace(long, short)
    names: dict = {}
    exec(block, names)
    assert names["points"].shape == (4, 2) and names["measured"].values
    assert names["run"].weights == "live"


def test_the_components_of_the_page_on_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 30 lines each; together they train, are measured, resume their state, and sample."""
    page = (DOCS / "own_component.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 5 and all(len(block.splitlines()) <= 30 for block in blocks)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    Path("mine.py").write_text("\n\n".join(blocks), encoding="utf-8")
    (gin_text,) = re.findall(r"```\n(include.*?)```", page, re.S)
    Path("mine.gin").write_text(gin_text, encoding="utf-8")
    train, evaluate = re.search(r"```bash\n(accelerate.*mine.*?)```", page, re.S)[1].splitlines()
    small = ["NUM_STEPS=2", "BATCH_SIZE=8", "Trainer.num_samples=8", "Evaluation.num=8"]
    words = [*shlex.split(train)[3:], *(word for setting in small for word in ("--set", setting))]
    assert launch.main(words) == 0
    assert launch.main(shlex.split(evaluate)[2:]) == 0
    run = runs.load("runs/mine", trust_imports=True)
    assert run.generate(2).x.isfinite().all() and run.method.size != 1


def test_the_network_of_the_page_on_one_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's file and command train, cut to one step, and leave a run that samples."""
    page = (DOCS / "one_energy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (command,) = (c for c in re.findall(r"```bash\n(.*?)```", page, re.S) if "--import my_denoiser.py" in c)
    monkeypatch.chdir(tmp_path)
    Path("my_denoiser.py").write_text(block, encoding="utf-8")
    words = shlex.split(command.replace("\\\n", " "))[3:]
    small = ["NUM_STEPS=1", "energy/Muon.warmup_steps=0", "BATCH_SIZE=4", "Trainer.sample_every=0"]
    small += ["Evaluation.every=0", "Trainer.best=None", "LANGEVIN_STEPS=1", "RECOVERY_START=0"]
    assert launch.main([*words, *(word for setting in small for word in ("--set", setting))]) == 0
    assert runs.load("runs/denoiser", trust_imports=True).generate(2).x.isfinite().all()
