"""Feature extractors: the Inception network by its published shapes and closed forms, weights from files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.judge_digits import real_digits
from modules.core.checks import CheckpointError, ConfigurationError
from modules.data.quantization import to_bytes
from modules.evaluation import references
from modules.features import inception_v3
from modules.features.cache import cache_folder
from modules.features.digits import FILE, DigitsClassifier
from modules.features.inception import BlockE, InceptionNetwork, Unit, _mean, resize
from modules.features.inception_v3 import InceptionV3
from modules.features.module import ModuleFeatures
from modules.features.pixels import RawPixels
from tests.random_inception import random_inception
from tests.small_classifier import SmallClassifier

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "recovery-likelihood"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return random_inception(tmp_path_factory.mktemp("weights"))


# the network


def test_names_and_shapes_are_those_of_the_published_file():
    """The file holds 94 convolutions with batch normalization and one dense layer."""
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in InceptionNetwork().state_dict().items()}
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Conv2d_4a_3x3.bn.running_var"] == (192,)
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_5d.branch3x3dbl_3.conv.weight"] == (96, 96, 3, 3)
    assert shapes["Mixed_6a.branch3x3.conv.weight"] == (384, 288, 3, 3)
    assert shapes["Mixed_6b.branch7x7_2.conv.weight"] == (128, 128, 1, 7)
    assert shapes["Mixed_6e.branch7x7dbl_4.conv.weight"] == (192, 192, 7, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.conv.weight"] == (192, 192, 3, 3)
    assert shapes["Mixed_7b.branch3x3_2a.conv.weight"] == (384, 384, 1, 3)
    assert shapes["Mixed_7c.branch3x3dbl_1.conv.weight"] == (448, 2048, 1, 1)
    assert shapes["fc.weight"] == (1008, 2048) and shapes["fc.bias"] == (1008,)
    assert sum(name.endswith("conv.weight") for name in shapes) == 94
    with torch.device("meta"):
        numbers = sum(p.numel() for p in InceptionNetwork().parameters())
    assert numbers == 21_785_568 + 1008 * 2049  # torchvision's without its dense layer and its side exit
    assert Unit(3, 4).bn.eps == 0.001


def test_averages_leave_the_padding_out_and_the_last_pool_is_a_maximum():
    torch.testing.assert_close(_mean(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))
    x = torch.zeros(1, 8, 8, 8)
    x[..., 0, 0] = 4.0
    assert float(_mean(x)[0, 0, 0, 0]) == 1.0  # of 4 pixels, not of 9
    for is_last, expected in ((False, 1.0), (True, 4.0)):
        block = BlockE(8, is_last).eval()
        block.branch_pool = nn.Identity()
        assert float(block(x)[0, -8, 0, 0].detach()) == expected


def test_resize_reads_at_the_upper_left_corner():
    """TensorFlow 1: output i at i·old/new; of a ramp, min(i·old/new, old - 1) exactly."""
    ramp = torch.arange(32.0).expand(1, 1, 3, 32)
    out = resize(ramp)
    assert out.shape == (1, 1, 299, 299)
    exact = np.minimum(np.arange(299) * 32 / 299, 31)
    torch.testing.assert_close(out[0, 0, 7], torch.tensor(exact).float(), rtol=0, atol=1e-5)
    assert torch.equal(resize(ramp.transpose(2, 3)).transpose(2, 3), out)
    same = torch.rand(1, 3, 299, 299)
    assert torch.equal(resize(same), same)
    # smaller than 32 from larger: no antialiasing, every second pixel
    assert torch.equal(resize(ramp, 16)[0, 0, 0], torch.arange(0, 32.0, 2))


def test_pixels_are_scaled_to_about_one():
    """(x - 128)/128 goes into the first convolution."""
    network = InceptionNetwork().eval()
    seen = []
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 3, 4, 4)
    with torch.no_grad():
        network(images)
    assert [float(x.mean()) for x in seen[0]] == pytest.approx([-1.0, 0.0, 127 / 128])
    assert seen[0].shape == (3, 3, 299, 299)


# its weights


def test_inception_from_a_file(weights, home):
    features = InceptionV3(str(weights)).open((1, 8, 8), CPU)
    images = to_bytes(real_digits("held_out")[0][:2])
    out = features.extract(images)
    assert out.features.shape == (2, 2048) and out.logits is not None and out.logits.shape == (2, 1008)
    network = InceptionNetwork().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        expected, _ = network(images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(out.features, expected)
    torch.testing.assert_close(out.logits, expected @ network.fc.weight.T)  # without the bias
    # kept as safetensors, read from there again, with the hash of the file that was given
    (kept,) = home.glob("inception-*.safetensors")
    again = InceptionV3(str(weights)).open((1, 8, 8), CPU)
    converted = InceptionV3(str(kept)).open((3, 8, 8), CPU)
    assert again.protocol == features.protocol
    assert torch.equal(again.extract(images).features, out.features)
    assert torch.equal(converted.extract(images.expand(-1, 3, -1, -1)).features, out.features)


def test_the_published_file_is_fetched_once_or_asked_for(weights, home, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        CheckpointError, match=r"HF_HUB_OFFLINE is set: fetch https://\S+\.pth where"
    ) as caught:
        InceptionV3().open((3, 32, 32), CPU)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(inception_v3, "URL", "http://127.0.0.1:9/pt_inception.pth")
    with pytest.raises(CheckpointError, match=r"cannot be fetched \(.*refused.*\): fetch http"):
        InceptionV3().open((3, 32, 32), CPU)
    # another file in its place is noticed by its hash
    monkeypatch.setattr(inception_v3, "URL", weights.as_uri())
    with pytest.raises(CheckpointError, match="invalid hash"):
        InceptionV3().open((3, 32, 32), CPU)
    assert not list(home.glob("*"))
    monkeypatch.setattr(inception_v3, "HASH", inception_v3._sha256(weights)[:8])
    InceptionV3().open((3, 32, 32), CPU)
    assert (home / weights.name).read_bytes() == weights.read_bytes()


def test_a_cache_that_cannot_be_written_is_no_fault(weights, monkeypatch):
    """As with HOME=/dev/null; what must be fetched says so in one line."""
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    references._save(cache_folder() / "references" / "a.npz", {"mean": np.zeros(2)})
    assert inception_v3._fitting(weights).keys() == InceptionNetwork().state_dict().keys()
    monkeypatch.setattr(inception_v3, "URL", weights.as_uri())
    with pytest.raises(CheckpointError, match=r"cannot be fetched \(.*Not a directory.*\): fetch"):
        InceptionV3().open((3, 32, 32), CPU)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def _without(state, name):
    return {k: v for k, v in state.items() if k != name}


WRONG = {
    "missing": (lambda p, s: None, "there is no file"),
    "empty": (lambda p, s: p.write_bytes(b""), "holds no readable weights"),
    "text": (lambda p, s: p.write_text("weights"), "holds no readable weights"),
    "a pickle": (lambda p, s: torch.save({"a": Evil()}, p), "holds no readable weights"),
    "no tensors": (lambda p, s: torch.save({"epoch": 3}, p), "something else than named tensors"),
    "a name less": (lambda p, s: torch.save(_without(s, "fc.bias"), p), "fc.bias is missing"),
    "a name more": (lambda p, s: torch.save({**s, "x": torch.ones(1)}, p), "it has x besides"),
    "a shape": (
        lambda p, s: torch.save({**s, "fc.bias": torch.ones(1000)}, p),
        "fc.bias is (1000,), not (1008,)",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_weights_are_refused_in_one_line(what, weights, tmp_path, capsys):
    make, expected = WRONG[what]
    path = tmp_path / "weights.pth"
    make(path, torch.load(weights, weights_only=True))
    with pytest.raises(CheckpointError) as caught:
        InceptionV3(str(path)).open((3, 32, 32), CPU)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


# the others


def test_raw_pixels():
    out = (
        RawPixels().open((1, 2, 2), CPU).extract(torch.tensor([[[[0, 255], [127, 128]]]], dtype=torch.uint8))
    )
    torch.testing.assert_close(out.features, torch.tensor([[-1.0, 1.0, -1 / 255, 1 / 255]]))
    points = torch.tensor([[0.3, -7.0]])
    assert torch.equal(RawPixels().open((2,), CPU).extract(points).features, points)


def test_the_shipped_classifier_knows_digits_and_doubts_the_rest():
    assert FILE.stat().st_size < 500_000
    features = DigitsClassifier().open((1, 8, 8), CPU)
    images, labels = real_digits("held_out")  # which it has never seen
    generator = torch.Generator().manual_seed(0)

    def sure(x):
        logits = features.extract(to_bytes(x)).logits
        return float((logits.softmax(1).amax(1) > 0.9).float().mean())

    logits = features.extract(to_bytes(images)).logits
    assert float((logits.argmax(1) == labels).float().mean()) > 0.98
    assert sure(images) > 0.9
    assert sure(2 * torch.rand(360, 1, 8, 8, generator=generator) - 1) < 0.01
    assert sure(images + 0.7 * torch.randn(images.shape, generator=generator)) < 0.05
    assert sure((images + images.flip(0)) / 2) < 0.2
    assert sure(torch.zeros(1, 1, 8, 8)) == 0


def test_a_module_by_its_path(tmp_path):
    network = SmallClassifier(3.0)
    path = tmp_path / "small.safetensors"
    save_file(network.state_dict(), path)
    extractor = ModuleFeatures(
        "tests.small_classifier.SmallClassifier",
        {"scale": 3.0},
        weights=str(path),
        layer="body",
        gives_logits=True,
        size=6,
        mean=(0.5, 0.4),
        std=(0.25, 0.2),
    )
    colours = torch.tensor([[255, 51], [0, 102]], dtype=torch.uint8)
    out = extractor.open((2, 4, 4), CPU).extract(colours[:, :, None, None].expand(-1, -1, 4, 4))
    x = torch.tensor([[2.0, -1.0], [-2.0, 0.0]])  # (x/255 - mean)/std
    with torch.no_grad():
        features = 3 * x @ network.body.weight[:, :, 0, 0].T
        torch.testing.assert_close(out.features, features)
        torch.testing.assert_close(out.logits, network.head(features))
    torch.nn.init.zeros_(network.head.bias)
    save_file(network.state_dict(), path)
    one, other = (extractor.open((2, 4, 4), CPU).protocol for _ in range(2))
    assert one == other and one["resize"] == "6x6, bilinear, antialiased"
    (tmp_path / "small.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"small\.safetensors holds no readable weights"):
        extractor.open((2, 4, 4), CPU)


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (lambda: DigitsClassifier(), (3, 8, 8), "DigitsClassifier takes images of shape (1, 8, 8)"),
        (lambda: InceptionV3("x"), (2,), "InceptionV3 takes images with 1 or 3 channels"),
        (lambda: ModuleFeatures("torch.nn.Linaer"), (3, 8, 8), "Did you mean 'Linear'?"),
        (lambda: ModuleFeatures("nowhere.Linear"), (3, 8, 8), "No module named 'nowhere'"),
        (lambda: ModuleFeatures("torch.nn.Linear"), (3, 8, 8), "refused: "),
        (lambda: ModuleFeatures("torch.numel"), (3, 8, 8), "must be a class of torch.nn.Module"),
        (lambda: ModuleFeatures("os.mkdir", {"path": "x"}), (3, 8, 8), "must be a class of torch.nn"),
        (lambda: ModuleFeatures("torch.hub.load"), (3, 8, 8), "must be a class of torch.nn.Module"),
        (lambda: ModuleFeatures("torch.nn.Module.apply"), (3, 8, 8), "must be a class of torch.nn.Module"),
        (lambda: ModuleFeatures("pathlib.Path.home"), (3, 8, 8), "must be a class of torch.nn.Module"),
        (
            lambda: ModuleFeatures("torch.nn.Identity", layer="pool"),
            (3, 8, 8),
            "has no module 'pool'",
        ),
        (lambda: ModuleFeatures("torch.nn.Identity", mean=(0.5,)), (3, 8, 8), "one number a channel"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(make, shape, expected):
    with pytest.raises(ConfigurationError) as caught:
        make().open(shape, CPU)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
