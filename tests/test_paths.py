"""Real paths, each folder of which is looked up once."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

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
