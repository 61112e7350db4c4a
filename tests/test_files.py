"""Files and folders are whole or not there; a place that cannot be written is an InputError.

The tests may run as root, whom no permission stops: a file stands where a folder is needed instead.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from utils.errors import InputError
from utils.files import atomic_file, atomic_folder, make_folder, read_to_end


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def blocked(tmp_path) -> Path:
    """A place below a file."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "below"


class Stop(Exception):
    pass


@pytest.mark.parametrize(("mode", "content"), [("w", "grün\n"), ("wb", b"\x00\xff")])
def test_a_file_appears_when_the_block_ends(tmp_path, mode, content):
    path = tmp_path / "new" / "result"
    with atomic_file(path, mode) as file:
        file.write(content)
        assert not path.exists()
    assert path.read_bytes() == (content.encode("utf-8") if mode == "w" else content)
    assert names(path.parent) == ["result"]


def test_a_file_gets_ordinary_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "result") as file:
            file.write("x")
        with atomic_folder(tmp_path / "folder"):
            pass
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert (tmp_path / "result").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_stays_as_it_was_if_the_block_fails(tmp_path, old, error):
    path = tmp_path / "result"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), atomic_file(path) as file:
        file.write("half")
        file.flush()
        raise error
    assert (path.read_text() if path.exists() else None) == old
    assert names(tmp_path) == (["result"] if old else [])


def test_a_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "result"
    path.write_text("a longer old text")
    with atomic_file(path) as file:
        file.write("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result"]


def test_a_full_disk_leaves_no_file(tmp_path):
    with (
        pytest.raises(InputError, match="cannot write .*result: No space left on device"),
        atomic_file(tmp_path / "result") as file,
    ):
        file.write("half")
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_a_file_that_cannot_be_written(tmp_path, blocked):
    for path in (blocked, blocked / "deeper"):
        with pytest.raises(InputError, match=f"cannot write {path}: "), atomic_file(path):
            pytest.fail("the block must not run")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write .*folder: Is a directory"), atomic_file(tmp_path / "folder"):
        pass
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "epoch0"
    with atomic_folder(path) as target:
        assert target.parent == path.parent and names(target) == []
        (target / "weights").write_text("w")
        assert not path.exists()
    assert names(path) == ["weights"]
    assert names(path.parent) == ["epoch0"]


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [False, True])
def test_a_folder_stays_as_it_was_if_the_block_fails(tmp_path, old, error):
    path = tmp_path / "epoch0"
    if old:
        path.mkdir()
        (path / "old").write_text("old")
    with pytest.raises(error), atomic_folder(path) as target:
        (target / "new").write_text("half")
        raise error
    assert names(tmp_path) == (["epoch0"] if old else [])
    if old:
        assert names(path) == ["old"]


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "epoch0"
    path.mkdir()
    (path / "old").write_text("old")
    with atomic_folder(path) as target:
        (target / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["epoch0"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_name(tmp_path, monkeypatch, error):
    path = tmp_path / "epoch0"
    path.mkdir()
    (path / "old").write_text("old")
    rename = Path.rename

    def fail_once(source, target):
        if source.suffix == ".tmp":
            raise error
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    expected = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), atomic_folder(path) as target:
        (target / "new").write_text("new")
    assert names(tmp_path) == ["epoch0"]
    assert names(path) == ["old"]


def test_a_folder_that_cannot_be_written(tmp_path, blocked):
    with pytest.raises(InputError, match=f"cannot write {blocked}: "), atomic_folder(blocked):
        pytest.fail("the block must not run")
    file = tmp_path / "file"
    with pytest.raises(InputError, match=f"cannot write {file}: "), atomic_folder(file) as target:
        (target / "new").write_text("new")
    assert names(tmp_path) == ["file"]
    assert file.read_text() == "in the way"


def test_make_folder(tmp_path, blocked):
    path = make_folder(str(tmp_path / "a" / "b"))
    assert path == tmp_path / "a" / "b" and names(path) == []
    assert make_folder(path) == path
    for place in (blocked, blocked.parent):
        with pytest.raises(InputError, match=f"cannot write to the folder {place}: "):
            make_folder(place)


def test_the_end_of_a_tar_gz_is_looked_at():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    for data, good in ((buffer.getvalue(), True), (buffer.getvalue()[:-1], False)):
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            assert archive.getnames() == ["empty"]  # tarfile alone finds nothing wrong
            if good:
                read_to_end(archive)
            else:
                with pytest.raises(EOFError):
                    read_to_end(archive)
