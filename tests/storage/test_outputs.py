"""A command's files are known by a record of them; what is nobody's or somebody else's stays as it is."""

from __future__ import annotations

import pytest

from modules.core.checks import ConfigurationError
from modules.storage.outputs import RECORDS, Outputs

NAMES = ("a.png", "inner/b.txt")


def _write(folder, by: str = "generate --num 1", text: str = "x"):
    outputs = Outputs(folder, by, NAMES)
    outputs.begin()
    for name in NAMES:
        (folder / name).write_text(text)
    outputs.end()


def _refused(folder, by: str = "generate --num 1") -> str:
    with pytest.raises(ConfigurationError) as caught:
        Outputs(folder, by, NAMES)
    assert "\n" not in str(caught.value) and "name another --output" in str(caught.value)
    return str(caught.value)


def test_a_command_may_write_its_own_files_again(tmp_path):
    _write(tmp_path)
    _write(tmp_path, text="y")
    assert (tmp_path / "a.png").read_text() == "y"


def test_other_options_may_not(tmp_path):
    _write(tmp_path)
    assert "a.png was written by a command with other options" in _refused(tmp_path, "generate --num 2")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_changed_or_put_there_is_the_users(tmp_path, name):
    _write(tmp_path)
    (tmp_path / name).write_text("edited")
    assert f"{name} has changed since" in _refused(tmp_path)
    other = tmp_path / "other"
    (other / name).parent.mkdir(parents=True)
    (other / name).write_text("mine")
    assert f"{name} was not written by this command" in _refused(other)


def test_a_link_or_a_folder_of_the_name_is_the_users(tmp_path):
    _write(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "kept.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "kept.png")
    _refused(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").mkdir()
    _refused(tmp_path)


def test_what_a_killed_command_left_is_its_own(tmp_path):
    Outputs(tmp_path, "generate", NAMES).begin()
    (tmp_path / "a.png").write_text("half")
    Outputs(tmp_path, "generate", NAMES)
    _refused(tmp_path, "compose")


def test_withdrawing_leaves_what_is_not_its_own(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    _write(tmp_path)
    Outputs(tmp_path, "generate --num 1", NAMES).withdraw()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_copied_or_moved_folder_stays_its_commands(tmp_path):
    _write(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    _write(tmp_path / "two")


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "\udcff"])
def test_a_record_that_is_none_makes_nothing_ones_own(tmp_path, text):
    _write(tmp_path)
    for record in (tmp_path / RECORDS).iterdir():
        record.write_bytes(text.encode(errors="surrogateescape"))
    assert "a.png was not written by this command" in _refused(tmp_path)
