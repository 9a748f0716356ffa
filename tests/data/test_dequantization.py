"""Grey values spread over their steps: range, mean, rounding back, and whose noise it is (spec §13)."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.data.base import MemoryExamples
from modules.data.digits import Digits
from modules.data.pictures import MappedExamples
from modules.data.points import Checkerboard
from modules.data.quantization import dequantized
from modules.data.stream import TrainingStream

torch.set_num_threads(1)


def _stream(dequantize: bool = True, batch_size: int = 100, seed: int = 5, **options) -> TrainingStream:
    return TrainingStream(Digits(10).open(), batch_size, seed, dequantize=dequantize, **options)


@pytest.mark.parametrize("grey_values", [2, 17, 256])
def test_each_value_is_spread_evenly_over_its_own_step(grey_values: int) -> None:
    """Step 2/(n-1), the value in its middle; rounding to the nearest value gives the picture back."""
    step = 2 / (grey_values - 1)
    whole = Noise(0, torch.arange(500)).integers("whole", 0, grey_values)
    values = (whole * step - 1).reshape(500, 1, 1, 1).expand(500, 1, 4, 4).float()
    spread = dequantized(values, grey_values, Noise(1, torch.arange(500)))
    away = (spread - values) / step
    assert away.abs().max() <= 0.5 + 1e-3 and away.max() > 0.49 and away.min() < -0.49
    assert away.mean().abs() < 4 * (1 / 12 / 8000) ** 0.5 and away.var().item() == pytest.approx(
        1 / 12, rel=0.05
    )
    # values stored less exactly, as bytes are, make no gap between steps
    assert torch.equal(dequantized(values + 0.03 * step, grey_values, Noise(1, torch.arange(500))), spread)
    again = ((spread.double() + 1) / step).round().long()
    assert torch.equal(again, whole.reshape(-1, 1, 1, 1).expand_as(again))


def test_digits_count_to_sixteen() -> None:
    """17 values, stored as the nearest bytes: off by half a byte's step at most, 1/32 of a grey step."""
    opened = Digits().open()
    assert opened.grey_values == 17
    k = (opened.rows(torch.arange(400))[0] + 1) * 8
    assert (k - k.round()).abs().max() < 1 / 31
    assert k.round().unique().tolist() == list(range(17))


def test_what_examples_know() -> None:
    bytes_of, floats = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, 1, 2, 2)
    assert MemoryExamples(bytes_of).grey_values == 256
    assert MemoryExamples(floats).grey_values is None
    assert MemoryExamples(floats, grey_values=4).grey_values == 4
    assert MemoryExamples(bytes_of, grey_values=2).grey_values == 2
    assert MappedExamples.grey_values == 256 and Checkerboard().open().grey_values is None
    every = torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1)
    k = (MemoryExamples(every).rows(torch.arange(256))[0].flatten() + 1) * 127.5
    torch.testing.assert_close(k, torch.arange(256.0), rtol=0, atol=1e-4)


def test_the_stream_spreads_on_request_alone() -> None:
    """Off, pictures are as they are; on, the same pictures and labels come, moved by half a step at most."""
    off, on = _stream(False).batch(3, range(100)), _stream().batch(3, range(100))
    assert torch.equal(off.label, on.label) and torch.equal(
        _stream(False).batch(3, range(100)).image, off.image
    )
    whole = ((off.image + 1) * 8).round()
    away = (on.image + 1) * 8 - whole
    assert 0.49 < away.abs().max() <= 0.5 + 1e-5 and away.mean().abs() < 0.015


def test_rows_and_steps_have_their_own_noise() -> None:
    """A function of (seed, step, row): processes and micro-batches draw what one process draws."""
    whole = _stream().batch(2, range(100)).image
    parts = [_stream().batch(2, rows).image for rows in (range(37), range(37, 80), range(80, 100))]
    assert torch.equal(torch.cat(parts), whole)
    ahead = _stream(num_workers=2).iterate(2, [range(37), range(37, 100)])
    assert torch.equal(torch.cat([part.image for part in next(ahead)]), whole)
    ahead.close()

    # the same picture in another epoch is spread otherwise
    examples = MemoryExamples(torch.full((4, 1, 2, 2), 7, dtype=torch.uint8))
    stream = TrainingStream(examples, 4, 0, dequantize=True)
    first, second = (stream.batch(step, range(4)).image for step in (0, 1))
    assert (first != second).all() and len(first.unique()) == 16
    assert (TrainingStream(examples, 4, 1, dequantize=True).batch(0, range(4)).image != first).all()


def test_a_flip_and_its_noise_dont_meet() -> None:
    """Mirrored first, spread then: the order and the flips are those of a stream without."""
    plain, spread = (_stream(on, horizontal_flip=True).batch(0, range(100)).image for on in (False, True))
    assert ((spread + 1) * 8 - ((plain + 1) * 8).round()).abs().max() <= 0.5 + 1e-5


def test_faults_are_named() -> None:
    for make, words in (
        (
            lambda: TrainingStream(points, 8, 0, dequantize=True),
            ["whole grey values", "set it to"],
        ),
        (lambda: _stream("yes"), ["dequantize", "True or False"]),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert "\n" not in str(caught.value)
        assert all(word in str(caught.value) for word in words), str(caught.value)
