"""Files are opened by their name, and nothing else that may lie in their place."""

from __future__ import annotations

import os

import pytest
from media import PLANTS, plant

from video_zoo.utils import open_files
from video_zoo.utils.open_files import open_own, open_regular


@pytest.mark.parametrize("kind", PLANTS)
@pytest.mark.parametrize("mode", ["w", "wb", "a", "a+b", "r+b", "rb"])
def test_only_a_file_of_its_own_is_opened(tmp_path, kind, mode):
    """What is begun anew replaces what lies there, and what goes on refuses it."""
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.write_text("precious")
    plant(kind, place, victim)
    if mode.startswith("w"):
        with open_own(place, mode) as file:
            file.write(b"mine" if "b" in mode else "mine")
        assert place.read_text() == "mine" and not place.is_symlink()
    else:
        with pytest.raises(OSError, match="it is a link, a pipe or a device, or has a second name; remove it"):
            open_own(place, mode)
    assert victim.read_text() == "precious" and not (tmp_path / "new").exists()


def test_a_link_that_appears_at_the_last_moment_is_not_followed(tmp_path, monkeypatch):
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.write_text("precious")
    plant("link", place, victim)
    monkeypatch.setattr(open_files, "_check_own", lambda *_: None)
    with pytest.raises(OSError):
        open_own(place, "a")


def test_an_ordinary_file_is_opened_as_usual(tmp_path):
    place = tmp_path / "place"
    old = os.umask(0o027)
    try:
        for mode, content in (("a", "1"), ("a", "12"), ("w", "2"), ("a", "22")):
            with open_own(place, mode, encoding="utf-8") as file:
                file.write(content[-1])
            assert place.read_text() == content and place.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)
    for mode in ("a", "w", "r"):
        with pytest.raises(OSError):
            open_own(tmp_path, mode)
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "missing", "rb")


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "/dev/zero"])
@pytest.mark.parametrize("late", [False, True])
def test_what_may_have_no_end_is_not_read(tmp_path, monkeypatch, kind, late):
    """Also what takes the place of a regular file after it was looked at: nobody waits for a pipe's other end."""
    place = tmp_path / "place"
    os.mkfifo(tmp_path / "pipe")
    place.symlink_to("/dev/zero" if kind == "/dev/zero" else tmp_path / "pipe")
    place = tmp_path / "pipe" if kind == "pipe" else place
    (tmp_path / "file").touch()
    before = os.stat(tmp_path / "file")
    with monkeypatch.context() as patched:
        if late:
            patched.setattr(os, "stat", lambda name, **_: before)
        with pytest.raises(OSError, match="it is no regular file"):
            open_regular(place, 1 << 20)


def test_a_file_that_grew_is_measured_again(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.touch()
    before = os.stat(place)
    place.write_bytes(bytes(11))
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda name, **_: before)
        with open_regular(place, 11) as file:
            assert len(file.read()) == 11
        with pytest.raises(OSError, match="its 11 bytes are more than the 10 allowed"):
            open_regular(place, 10)
