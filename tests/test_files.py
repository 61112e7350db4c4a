"""Files and folders are whole or not there; a place that cannot be written is an InputError.

The tests may run as root, whom no permission stops: a file stands where a folder is needed instead.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import plant

from video_zoo.utils import files, locks
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, atomic_folder, make_folder, scratch_folder

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


@pytest.mark.parametrize("name", ["x" * 255, "漢" * 85, "a." + "ü" * 126])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path, name):
    path, folder = tmp_path / name, tmp_path / "f" / name
    for _ in range(2):
        with atomic_file(path) as file:
            file.write("x")
        with atomic_folder(folder) as target:
            (target / "weights").touch()
    assert names(tmp_path) == sorted(["f", name]) and names(files.whole_folder(folder)) == ["weights"]
    files.remove_folder(folder)
    assert names(tmp_path / "f") == []


@given(st.text(st.characters(exclude_categories=(), exclude_characters="\0/"), min_size=1), st.integers(0, 99))
def test_names_that_fit(stem, repeats):
    stem *= repeats + 1
    try:
        whole = os.fsencode(f"{stem}.partial.html")
    except UnicodeEncodeError:
        return  # a lone surrogate: no file has such a name
    name = files.fit_name(stem, ".partial.html")
    assert len(os.fsencode(name)) <= 255 and name.endswith(".partial.html")
    if len(whole) <= 255:
        assert name == f"{stem}.partial.html"
    else:
        kept, between, checksum = name[: -len(".partial.html")].rpartition("~")
        readable = whole.decode("utf-8", "ignore")
        assert between and len(checksum) == 8 and readable.startswith(kept)
        assert len(os.fsencode(name)) > 255 - 4 or not readable.startswith(stem)  # no character more would fit
        assert name != files.fit_name(f"{stem}x", ".partial.html")


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
        files.remove_leftovers(tmp_path / "new")  # as another process that begins
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
    assert leftover.startswith(".zoo_") and leftover.endswith(".tmp")
    monkeypatch.setattr(files.shutil, "rmtree", remove)
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_leftovers_are_ours_alone(tmp_path):
    """Hidden, with our prefix, eight characters, and .tmp or .old; folders with all that is in them."""
    others = [".zoo_abcd1234", ".zoo_abc.tmp", ".zoo_abcd12345.tmp", ".zoo_abcd1234.txt", "zoo_abcd1234.tmp", ".lock"]
    others += [".TSM.abcd1234.tmp", ".zoo_abcd1234.tmp.tmp", "TSM_best"]
    for name in [".zoo_abcd_234.tmp", ".zoo_q_8xyz01.old", *others]:
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "weights").touch()
    (tmp_path / "deep").touch()  # it has the name of what had stepped aside
    (tmp_path / ".zoo_wxyz1234.tmp").touch()
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*others, "deep"])
    assert all((tmp_path / name / "deep" / "weights").exists() for name in others)
    files.remove_leftovers(tmp_path / "missing")


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
    files.remove_leftovers(tmp_path)
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
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["TSM_best"] and names(path) == [left]


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


# --- what killed processes leave


def killed(work) -> None:
    """Runs a function in a process of its own, which is killed if the function ends."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def leave_files(folder: Path) -> None:
    """What a killed process leaves."""

    def work() -> None:
        with atomic_file(folder / "a"), atomic_folder(folder / "b"), files.scratch_folder(folder):
            os.kill(os.getpid(), signal.SIGKILL)

    killed(work)
    assert len(names(folder)) == 3


def test_whoever_writes_first_removes_what_killed_processes_left(tmp_path):
    leave_files(tmp_path)
    with atomic_file(tmp_path / "c"):
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == ["c"]


def test_what_is_at_work_stays(tmp_path):
    """Whatever its process id is: in containers it may be the same."""
    with (
        atomic_file(tmp_path / "a") as file,
        atomic_folder(tmp_path / "b") as folder,
        files.scratch_folder(tmp_path) as scratch,
    ):
        killed(lambda: files.remove_leftovers(tmp_path))
        with files.scratch_folder(tmp_path):
            pass
        file.write("a")
        (folder / "b").touch()
        (scratch / "c").touch()
    assert names(tmp_path) == ["a", "b"] and names(tmp_path / "b") == ["b"]


def test_of_two_that_write_the_same_folder_the_last_one_stays(tmp_path):
    for name in ("old", "first"):
        with atomic_folder(tmp_path / "exported") as folder:
            (folder / name).touch()
            if name == "first":
                with atomic_folder(tmp_path / "exported") as other:
                    (other / "second").touch()
                assert names(tmp_path / "exported") == ["second"] and names(folder) == ["first"]
    assert names(tmp_path) == ["exported"] and names(tmp_path / "exported") == ["first"]


@pytest.mark.parametrize("end", ["tmp", "old"])
@pytest.mark.parametrize("kind", ["link", "dangling link"])
def test_a_link_that_is_named_like_a_leftover_stays(tmp_path, monkeypatch, kind, end):
    """And what it leads to is not even locked."""
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: pytest.fail("something is locked"))
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "key").write_text("precious")
    plant(kind, tmp_path / f".zoo_abcd1234.{end}", victim)
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [f".zoo_abcd1234.{end}", "victim"] and (victim / "key").read_text() == "precious"


@pytest.mark.parametrize("end", ["tmp", "old"])
def test_a_pipe_that_is_named_like_a_leftover_is_not_waited_for(tmp_path, end):
    os.mkfifo(tmp_path / f".zoo_abcd1234.{end}")
    files.remove_leftovers(tmp_path)
    with atomic_file(tmp_path / "a") as file:
        file.write("x")
    assert (tmp_path / "a").read_text() == "x"


def test_a_link_that_takes_the_place_of_a_leftover_is_not_followed(tmp_path, monkeypatch):
    """Right after the leftover was locked: what comes back is what is in the folder that was locked."""
    victim, leftover = tmp_path / "victim", tmp_path / ".zoo_abcd1234.old"
    for folder in (victim, leftover):
        folder.mkdir()
    (victim / "key").write_text("precious")
    (leftover / "TSM_best").touch()
    take_lock = locks.take_lock

    def swapped(path):
        lock = take_lock(path)
        leftover.rename(tmp_path / "aside")
        plant("link", leftover, victim)
        return lock

    monkeypatch.setattr(locks, "take_lock", swapped)
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".zoo_abcd1234.old", "TSM_best", "aside", "victim"] and names(victim) == ["key"]


def test_the_leftovers_of_other_users_stay(tmp_path, monkeypatch):
    leave_files(tmp_path)
    (tmp_path / ".zoo_abcd1234.old" / "TSM_best").mkdir(parents=True)
    before = names(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == before and len(before) == 4


@pytest.mark.parametrize("kind", ["system", "file system"])
def test_where_there_are_no_locks_nothing_is_removed(tmp_path, monkeypatch, kind):
    leave_files(tmp_path)

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "fcntl", None) if kind == "system" else monkeypatch.setattr(locks.fcntl, "flock", flock)
    with atomic_file(tmp_path / "a") as file, locks.lock_folder(tmp_path, ""), files.scratch_folder(tmp_path):
        file.write("x")
    assert len(names(tmp_path)) == 4 and (tmp_path / "a").read_text() == "x"


def test_a_temporary_that_is_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """Between its making and its lock, another process may sweep."""
    lock, seen = files.take_lock, []

    def swept(path, *flags, **options):
        if not seen:
            seen.append(path)
            path.unlink()
        return lock(path, *flags, **options)

    monkeypatch.setattr(files, "take_lock", swept)
    with atomic_file(tmp_path / "a") as file:
        file.write("x")
    assert seen and names(tmp_path) == ["a"]


def test_a_place_for_temporary_files_that_is_full_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = re.escape(str(tmp_path))
    said = rf"^cannot write temporary files to {place}/\S+: No space left on device; TMPDIR names another folder$"
    with pytest.raises(InputError, match=said), scratch_folder() as folder:
        assert folder.parent == tmp_path
        raise OSError(28, "No space left on device")  # as a write says it, without a path
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="files to .*nowhere/.*: No such file.*TMPDIR"), scratch_folder():
        pytest.fail("it is there")
