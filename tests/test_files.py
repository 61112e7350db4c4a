"""Files and folders are whole or not there; a place that cannot be written is an InputError.

The tests may run as root, whom no permission stops: a file stands where a folder is needed instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from video_zoo.utils import files
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, atomic_folder, make_folder

ROOT = Path(__file__).resolve().parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def blocked(tmp_path) -> Path:
    """A place below a file."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "below"


class Stop(Exception):
    pass


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")


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


@linux
def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "result", []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))
        fsync(descriptor)

    def note_replace(source, target):
        seen.append(("replace", str(source), target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with atomic_file(path) as file:
        file.write("all")
    (_, temporary, size), renamed = seen
    assert size == 3 and renamed == ("replace", temporary, path) and path.read_text() == "all"


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


def test_there_is_always_a_whole_folder(tmp_path, monkeypatch):
    """Under its name, or aside, where `whole_folder` finds it: whenever a kill falls."""
    path, seen = tmp_path / "epoch[0]", []  # brackets mean something to glob
    rename = Path.rename

    def look(source, target):
        seen.append(names(files.whole_folder(path)))
        done = rename(source, target)
        seen.append(names(files.whole_folder(path)))
        return done

    assert files.whole_folder(path) == path  # there is none, and the caller's message names it
    with atomic_folder(path) as target:
        (target / "a").touch()
    monkeypatch.setattr(Path, "rename", look)
    with atomic_folder(path) as target:
        (target / "b").touch()
    assert seen == [["a"], ["a"], ["a"], ["b"]]
    assert names(tmp_path) == ["epoch[0]"] and names(path) == ["b"]


def test_remove_folder(tmp_path, blocked):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_text("w")
    files.remove_folder(tmp_path / "a")
    assert names(tmp_path) == ["file"]
    for path in (tmp_path / "a", blocked):
        with pytest.raises(InputError, match=f"cannot remove {path}: "):
            files.remove_folder(path)
    assert not list(tmp_path.glob("a"))


def test_a_removal_that_is_killed_leaves_no_half_folder(tmp_path, monkeypatch):
    """Only a leftover, which the next start sweeps up."""
    path = tmp_path / "TSM_epoch0"
    path.mkdir()
    (path / "weights").write_text("w")
    remove = shutil.rmtree

    def killed(*_, **__):
        raise Stop

    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(Stop):
        files.remove_folder(path)
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".TSM_epoch0.") and leftover.endswith(".tmp")
    monkeypatch.setattr(files.shutil, "rmtree", remove)
    files.remove_leftovers(tmp_path, "TSM_*")
    assert names(tmp_path) == []


def test_leftovers_are_ours_alone(tmp_path):
    """Of these names, hidden, with eight characters and .tmp or .old; folders with all that is in them."""
    others = [".TSN_epoch0.abcd1234.tmp", ".TSM_epoch0", ".TSM.txt", "TSM_epoch0.tmp", "TSM.old", ".lock", "TSM_best"]
    others += [".TSM_epoch0.abc.tmp", ".TSM_best.abcd1234.txt", ".TSM_best.tmp", ".curves.jsonl.old", ".x.abcd1234.tmp"]
    others += ["TSM_epoch1.abcd1234.tmp", ".TSM.abcd1234.tmp", ".curves.jsonl.bak.abcd1234.tmp"]
    for name in [".TSM_best.abcd_234.tmp", ".TSM_epoch3.q_8xyz01.old", *others]:
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "weights").touch()
    (tmp_path / ".curves.jsonl.abcd1234.tmp").touch()
    files.remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == len(others) + 3
    files.remove_leftovers(tmp_path, "TSM_*", "curves.jsonl")
    assert names(tmp_path) == sorted(others)
    assert all((tmp_path / name / "deep" / "weights").exists() for name in others)
    files.remove_leftovers(tmp_path / "missing", "*")


@pytest.mark.parametrize("whole", [True, False])
def test_a_killed_process_leaves_what_is_swept_up(tmp_path, whole):
    """In the middle of writing a new folder, beside an old one or none."""
    path = tmp_path / "TSM_best"
    if whole:
        with atomic_folder(path) as target:
            (target / "old").touch()
    script = "import os, sys; from video_zoo.utils.files import atomic_folder\n"
    script += "with atomic_folder(sys.argv[1]) as target: (target / 'half').touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert len([name for name in names(tmp_path) if name.endswith(".tmp")]) == 1
    files.remove_leftovers(tmp_path, "TSM_*")
    assert names(tmp_path) == (["TSM_best"] if whole else [])
    assert not whole or names(path) == ["old"]


@pytest.mark.parametrize("renames, left", [(1, "old"), (2, "new")])
def test_a_kill_while_the_old_folder_is_aside(tmp_path, renames, left):
    """Between the two renames, the old one is what comes back; after them it goes. It can be read all the time."""
    path = tmp_path / "TSM_best"
    with atomic_folder(path) as target:
        (target / "old").touch()
    script = f"""
import os, sys
from pathlib import Path
from video_zoo.utils import files
rename, left = Path.rename, {renames}
def then_killed(source, target):
    global left
    rename(source, target)
    left -= 1
    left or os.kill(os.getpid(), 9)
Path.rename = then_killed
with files.atomic_folder(sys.argv[1]) as target:
    (target / "new").touch()
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -9 and path.exists() is (renames == 2)
    assert [name for name in names(tmp_path) if name.endswith(".old")]
    assert names(files.whole_folder(path)) == [left]
    files.remove_leftovers(tmp_path, "TSN_*", "TSM_best.x")
    assert path.exists() is (renames == 2)
    files.remove_leftovers(tmp_path, "TSM_*")
    assert names(tmp_path) == ["TSM_best"] and names(path) == [left]


def test_a_folder_is_locked_for_one_alone(tmp_path):
    """While the block runs, and after it for the next."""
    for _ in range(2):
        with files.lock_folder(tmp_path, "give another one"):
            with pytest.raises(InputError) as caught, files.lock_folder(tmp_path, "give another one"):
                pytest.fail("the block must not run")
            assert str(caught.value) == f"{tmp_path} is in use: give another one"
    with pytest.raises(Stop), files.lock_folder(tmp_path, ""):
        raise Stop
    with files.lock_folder(str(tmp_path), ""), files.lock_folder(tmp_path / "..", ""):
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    """Also with one that was killed."""
    script = "import sys, time; from video_zoo.utils.files import lock_folder\n"
    script += "with lock_folder(sys.argv[1], ''): print('locked', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="is in use"), files.lock_folder(tmp_path, ""):
            pytest.fail("the block must not run")
        other.kill()
    with files.lock_folder(tmp_path, ""):
        pass


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
