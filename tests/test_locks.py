"""Locks on folders and files: one process at a time, until it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from media import PLANTS, plant

from video_zoo.utils.errors import InputError
from video_zoo.utils.locks import lock_folder

ROOT = Path(__file__).resolve().parents[1]


class Stop(Exception):
    pass


def test_a_folder_is_locked_for_one_alone(tmp_path):
    """While the block runs, and after it for the next."""
    for _ in range(2):
        with lock_folder(tmp_path, "give another one"):
            with pytest.raises(InputError) as caught, lock_folder(tmp_path, "give another one"):
                pytest.fail("the block must not run")
            assert str(caught.value) == f"{tmp_path} is in use: give another one"
    with pytest.raises(Stop), lock_folder(tmp_path, ""):
        raise Stop
    with lock_folder(str(tmp_path), ""), lock_folder(tmp_path / "..", ""):
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    """Also with one that was killed."""
    script = "import sys, time; from video_zoo.utils.locks import lock_folder\n"
    script += "with lock_folder(sys.argv[1], ''): print('locked', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="is in use"), lock_folder(tmp_path, ""):
            pytest.fail("the block must not run")
        other.kill()
    with lock_folder(tmp_path, ""):
        pass


@pytest.mark.parametrize("kind", PLANTS)
def test_a_lock_is_no_link_either(tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    plant(kind, tmp_path / ".lock", victim)
    with pytest.raises(InputError, match=r"cannot write .*\.lock: it is a link"), lock_folder(tmp_path, ""):
        pytest.fail("the block must not run")
    assert victim.read_text() == "precious"
