"""docs/python.md: the code of the page runs, and the Chinese page has the same."""

from __future__ import annotations

import dataclasses
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from deployed import trained_network
from media import SECTIONS, make_video
from tiny import values_of

import video_zoo
from video_zoo.configs import schema
from video_zoo.dataset.moving_shapes.make_moving_shapes import DIRECTIONS, draw_clip, write_mp4
from video_zoo.engine import finetune
from video_zoo.models import MODELS
from video_zoo.utils.fluid_vars import write_folder

DOCS = Path(__file__).resolve().parents[1] / "docs"
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LABELS = sorted(DIRECTIONS)
SMALL = """epochs=1, weights="none", device="cpu", verbose=False, settings=["MODEL.num_layers=18", "MODEL.base_width=8",
    "TRAIN.freeze_batch_norm=False", *(f"{name}.target_size=32" for name in ("TRAIN", "VALID", "INFER"))],"""


def folder_at(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """What the page names: mine/TSM_best, which was trained on moving shapes, holiday.mp4, clips/ and videos/."""
    values = values_of(trained_network())
    sizes = {"short_size": 64, "target_size": 56, "num_reader_threads": 1, "batch_size": 2}
    for place, shift in {"mine": "bi", "live": "uni"}.items():
        section = MODELS.get("TSM").config(num_classes=4, num_layers=18, base_width=8, shift=shift)
        settings = schema.Config(section, **{mode.upper(): kind(**sizes) for mode, kind in SECTIONS.items()})
        info = {"model": "TSM", "classes": LABELS, "epoch": 0, "global_step": 0, "best_top1": 0.99}
        write_folder(folder_at(tmp_path / place / "TSM_best"), values, {**dataclasses.asdict(settings), **info})
    rng = np.random.default_rng(5)
    for number in range(2):
        for label in LABELS:
            write_mp4(folder_at(tmp_path / "videos" / label) / f"{number}.mp4", draw_clip(label, 64, 24, 3, rng))
    shutil.copytree(tmp_path / "videos", tmp_path / "clips", ignore=shutil.ignore_patterns("1.mp4"))
    for label in LABELS:
        shutil.move(tmp_path / "clips" / label / "0.mp4", tmp_path / f"clips/{label}.mp4")
        (tmp_path / "clips" / label).rmdir()
    shutil.copy(tmp_path / "clips/left.mp4", tmp_path / "clips/again.mp4")
    (tmp_path / "clips/broken.mp4").write_bytes(b"no video")
    write_mp4(tmp_path / "holiday.mp4", draw_clip("right", 64, 60, 3, rng))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stream(folder) -> Iterator[str]:
    """The address of a stream of frames that move up."""
    make_video(folder / "stream.ts", draw_clip("up", 64, 60, 3, np.random.default_rng(6)))
    handler_class = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *words: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler_class, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/stream.ts"
        server.shutdown()


def test_the_page_runs(folder, stream, capsys, monkeypatch):
    """Block by block, in one program; each prints what it says it does."""
    for each in (video_zoo, finetune):
        monkeypatch.setattr(each, "load", partial(video_zoo.load, engine="paddle"))  # without a conversion
    said, scope = {}, {}
    for code in _CODE.findall((DOCS / "python.md").read_text(encoding="utf-8")):
        for shown, run in {"rtsp://camera/1": stream, "epochs=10,": SMALL}.items():
            code = code.replace(shown, run)
        exec(code, scope)
        said[code] = capsys.readouterr().out
    expected = {
        "top_k=3": "right",
        "model.names": "TSM ['down', 'left', 'right', 'up'] (8, 3, 56, 56)",
        "failures": "clips/up.mp4 up 100%\nnot read: clips/broken.mp4",
        "stride_s=0.5": "  0.5 to   1.5 s  right",
        "window_s=2": " up",
        "live.follow": "\n0.20 s  ",
        "groupby": "left     0.9",
        "found.sources)": "(5, 64) ['clips/again.mp4', ",
        "argsort": "clips/right.mp4 0.9",
        "triu": "clips/again.mp4 = clips/left.mp4\n",
        "finetune": "holiday.mp4\n",
    }
    for word, text in expected.items():
        assert text in next(output for code, output in said.items() if word in code), word


def test_the_chinese_page_has_the_same_code():
    pages = [_CODE.findall((DOCS / name).read_text(encoding="utf-8")) for name in ("python.md", "python_cn.md")]
    assert pages[0] == pages[1] != []
