"""The server of demo.py with a network that is made up, on a port of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from video_zoo.configs.schema import Config, InferSection
from video_zoo.models import MODELS

NAMES = ["brighter", "darker", '<img src=x onerror=hacked=1> & "co"', "كرة", "steady", "x" * 80]


class MadeUp:
    """Sees whether a clip becomes brighter or darker; it takes clips as video_zoo.load's models do.

    Args:
        seconds: a clip takes.
    """

    name, description = "TSM", "made up, for tests"

    def __init__(self, seconds: float = 0.0, **model: Any):
        self.seconds, self.names = seconds, NAMES
        section = MODELS.get("TSM").config(num_classes=len(NAMES), seg_num=4, **model)
        infer = InferSection(short_size=32, target_size=32, decode_timeout_s=20)
        self.settings = Config(MODEL=section, INFER=infer)
        self.at_once = self.most_at_once = 0  # calls that run

    def streams(self) -> None:
        """It follows no streams."""

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips (n, T, 3, H, W) -> float32 (n, classes)."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert clips.dtype == np.uint8 and clips.shape[1:] == self.settings.clip_shape("infer")
        time.sleep(self.seconds)
        levels = clips.mean((2, 3, 4))  # (n, T)
        rise = (levels[:, -1] - levels[:, 0]) / 8
        logits = np.stack([rise, -rise, *[np.zeros(len(clips))] * 4], axis=1)
        self.at_once -= 1
        return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Runs an application; gives its address."""
    import uvicorn

    from video_zoo.demo import address_of, listen
    from video_zoo.server.connections import Connection

    with listen("127.0.0.1", 0) as listener:
        options = {"lifespan": "off", "log_level": "critical", "timeout_graceful_shutdown": 1, "http": Connection}
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join(20)
