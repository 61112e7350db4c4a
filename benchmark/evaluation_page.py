"""How large the page of an evaluation is, and how long a browser takes to show it.

    python benchmark/evaluation_page.py --videos=20000 --classes=400 --runs=5

The evaluation is made up: random logits, and film strips of noise that JPEG compresses about as real frames. An empty
page and the report take turns, each in a new browser. Measured from the navigation: DOMContentLoaded, the first frame
after it, and the CPU time of all processes of the browser until then. Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from video_zoo.engine.evaluation import NATURAL, Evaluation
from video_zoo.engine.evaluation_files import Summary
from video_zoo.engine.evaluation_page import write_page

BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
BROWSER += ["--disable-component-update", "--disable-sync"]
_DRAWN = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => {
  const [entry] = performance.getEntriesByType("navigation")
  done([entry.domContentLoadedEventEnd, performance.now()])
})))"""


def made_up(
    videos: int,
    names: Sequence[str],
    *,
    failed: int = 0,
    orders: Sequence[str] = (NATURAL,),
    accuracy: float = 0.7,
    seed: int = 0,
) -> Evaluation:
    """An evaluation whose logits favour the right class in about `accuracy` of the videos."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, len(names), videos)
    logits = {}
    for order in orders:
        values = draw.normal(size=(videos, len(names))).astype(np.float32)
        right = draw.random(videos) < (accuracy if order == NATURAL else 0.4 * accuracy)
        shown = np.where(right, labels, np.minimum(labels ^ 1, len(names) - 1))
        values[np.arange(videos), shown] += np.where(right, draw.gamma(4, 2.5, videos), draw.gamma(2, 2, videos))
        logits[order] = values
    facts = {
        "model": "TSM",
        "protocol": {
            "name": "dense10x3",
            **{"sampling": "tsm_test_dense10", "clips": 10, "resize": "short_side", "crops": "tsm_fullres3"},
            **{"average": "logits", "short_size": 256, "target_size": 256, "frames": 8, "stride": 8, "views": 30},
        },
        "weights": {"name": "TSM_final.pdparams", "sha256": "ab" * 32},
        "list": {"path": "dataset/kinetics/val.list", "fingerprint": "cd" * 8, "videos": videos + failed},
        "engine": {"name": "paddle", "description": "dynamic mode", "device": "CPU", "precision": "fp32"},
        **{"paddle": "3.3.1", "made_at": "2026-11-26T08:00:00Z", "seconds": 5025.5, "videos_per_second": 3.98},
        "zoo": "0.2.0",
    }
    stem = "data/kinetics/val_256/{}/{:011x}_{:06d}_{:06d}.mp4".format
    ids = [stem(names[label], draw.integers(1 << 43), n, n + 10) for n, label in enumerate(labels)]
    failures = [(stem("lost", n, n, n + 10), "cannot read: moov atom not found") for n in range(failed)]
    return Evaluation(ids, labels, logits, failures, list(names), facts)


def made_up_clip(video: str, frames: int = 8, size: int = 224) -> np.ndarray:
    """Frames for a film strip, uint8 (frames, 3, size, size): noise of several sizes, as pictures have it."""
    draw = np.random.default_rng(len(video))
    image = np.zeros((size, size, 3), np.float32)
    for cells in (4, 8, 16, 32, 64, 128):
        part = draw.normal(size=(cells, cells, 3)).astype(np.float32)
        image += cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR) * 120 / cells**0.5
    shifted = [np.roll(image, 8 * n, axis=1) for n in range(frames)]
    return np.clip(np.stack(shifted) + 128, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="writes the page to this file, too")
    args = parser.parse_args()
    evaluation = made_up(args.videos, [f"class number {n}" for n in range(args.classes)], failed=args.videos // 40)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        summary = Summary.of(evaluation)
        start = time.process_time()
        write_page(path, evaluation, summary, made_up_clip)
        print(f"written in {time.process_time() - start:.2f} s of CPU time: {path.stat().st_size / 1e6:.2f} MB")
        if args.keep:
            shutil.copy(path, args.keep)
        empty = Path(folder) / "empty.html"
        empty.write_text("<!DOCTYPE html><title>empty</title>")
        pairs = [(open_page(empty), open_page(path)) for _ in range(args.runs)]
    for page, rows in zip(("an empty page", "the report"), zip(*pairs)):
        for name, values in zip(("DOMContentLoaded", "first frame", "CPU time"), zip(*rows)):
            print(f"{page}: {name}: median {median(values):.0f} ms, from {min(values):.0f} to {max(values):.0f}")


def find_chromium() -> str | None:
    """The path of the installed browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def open_page(path: Path) -> tuple[float, float, float]:
    """ms from the navigation to DOMContentLoaded, and to the frame that is drawn after it, and ms of CPU time, in a new
    browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=BROWSER)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        session = browser.new_browser_cdp_session()

        def cpu_ms() -> float:
            return 1000 * sum(each["cpuTime"] for each in session.send("SystemInfo.getProcessInfo")["processInfo"])

        before = cpu_ms()
        page.goto(path.as_uri())
        loaded, drawn = page.evaluate(_DRAWN)
        spent = cpu_ms() - before
        browser.close()
    return loaded, drawn, spent


if __name__ == "__main__":
    main()
