"""Real paths, each folder of which is looked up once."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from video_zoo.utils import paths
from video_zoo.utils.paths import RealPaths

names = st.sampled_from(["a", "b", "link", "up", "..", ".", "gone"])


@given(st.lists(names, min_size=1, max_size=5).map("/".join))
def test_real_paths_are_those_of_the_system(tmp_path_factory, path):
    """With links to files and folders, upwards, in a circle, and to nothing."""
    root = tmp_path_factory.getbasetemp() / "real paths"
    if not root.exists():
        (root / "a/b").mkdir(parents=True)
        (root / "b").touch()
        for link, target in (("link", "a"), ("a/link", "../b"), ("a/up", ".."), ("loop", "loop"), ("gone", "nowhere")):
            (root / link).symlink_to(target)
    real_path = RealPaths()
    for each in (f"{root}/{path}", os.path.abspath(f"{root}/{path}"), f"{root}/{path}/", f"{root}/loop"):
        assert real_path(each) == real_path(each) == os.path.realpath(each)


def test_a_path_is_found_here_then_in_a_folder_then_in_the_project(tmp_path, monkeypatch):
    here, beside, project = (tmp_path / name for name in ("here", "beside", "project"))
    for number, folder in enumerate((project, beside, here)):
        folder.mkdir()
        for name in ("all", "two", "one")[: 3 - number]:
            (folder / name).touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(paths, "PROJECT", project)
    found = [paths.find_path(name, beside) for name in ("all", "two", "one", "none")]
    assert found == ["all", str(beside / "two"), str(project / "one"), None]
    assert paths.find_path("two") == str(project / "two") and paths.find_path("/nowhere") == "/nowhere"
    assert paths.looked_in("x", beside) == f" (looked for in {here} and {beside} and {project})"
    assert paths.looked_in("/x") == ""
