"""The shipped digits."""

import pytest
import torch
from sklearn.datasets import load_digits

from modules.core.checks import ConfigurationError
from modules.data import Digits, digits_split


def test_the_file_holds_the_source():
    source = load_digits()
    images, labels = Digits(10, "all").open().rows(torch.arange(1797))
    ink = (images[:, 0] + 1) * 8  # 0..16
    assert (ink - torch.tensor(source.images)).abs().max() < 0.04  # half a grey level
    assert labels[:, 0].tolist() == source.target.tolist()


def test_held_out_digits_are_no_training_digits():
    train, held_out = digits_split()
    assert len(train) == 1437 and len(held_out) == 360
    assert torch.equal(torch.cat([train, held_out]).sort().values, torch.arange(1797))
    # of record: another split would let judges hold out what older runs were trained on
    assert train[:5].tolist() == [1289, 154, 226, 1094, 536] and held_out[:5].tolist() == [
        299,
        525,
        1439,
        520,
        608,
    ]
    everything = Digits(10, "all").open()
    for part, indices in (("train", train), ("held_out", held_out)):
        examples = Digits(10, part).open()
        assert len(examples) == len(indices)
        mine, all_of_them = examples.rows(torch.arange(len(indices))), everything.rows(indices)
        assert torch.equal(mine[0], all_of_them[0]) and torch.equal(mine[1], all_of_them[1])
    assert len(Digits().open()) == 1437  # what is held out is so by default


def test_every_class_is_on_both_sides():
    for part, length, expected in (("train", 1437, 143.7), ("held_out", 360, 36.0)):
        labels = Digits(10, part).open().rows(torch.arange(length))[1]
        counts = labels[:, 0].bincount(minlength=10)
        assert (counts > 0.6 * expected).all() and (counts < 1.4 * expected).all()


def test_labels_are_left_out_on_request():
    examples = Digits().open()
    assert examples.rows(torch.tensor([0, 5]))[1].tolist() == [[-1], [-1]]
    assert examples.class_names == [] and Digits(10).class_names == list("0123456789")


def test_bad_arguments():
    with pytest.raises(ConfigurationError, match=r"num_classes must be 10 or 0"):
        Digits(9)
    with pytest.raises(ConfigurationError, match="Did you mean 'held_out'"):
        Digits(part="heldout")


def test_digits_are_left_out_on_request():
    """Training without 8 and 9; the others keep their places and labels, with labels or without."""
    whole, part = Digits(10).open(), Digits(10, omit=(8, 9)).open()
    kept = whole.labels[:, 0] < 8
    assert 0 < len(part) < len(whole)
    assert torch.equal(part.images, whole.images[kept]) and torch.equal(part.labels, whole.labels[kept])
    assert len(part.class_names) == 10
    assert torch.equal(Digits(omit=(8, 9)).open().images, part.images)
    assert len(Digits(10, omit=tuple(range(8))).open()) == len(whole) - len(part)


@pytest.mark.parametrize("omit", [(10,), (True,), "89", tuple(range(10))])
def test_what_cannot_be_left_out(omit):
    with pytest.raises(ConfigurationError, match=r"Digits\.omit"):
        Digits(omit=omit)


def test_what_one_opened_is_nobody_elses():
    """The file is read once a process."""
    images, labels = Digits(10, "all").open().rows(torch.arange(1797))
    for part in ("train", "held_out", "all"):
        opened = Digits(10, part).open()
        opened.images.zero_()
        opened.labels.fill_(3)
    again, same = Digits(10, "all").open().rows(torch.arange(1797))
    assert torch.equal(images, again) and torch.equal(labels, same)
