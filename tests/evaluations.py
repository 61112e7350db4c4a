"""Made-up evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np

from video_zoo.engine.evaluation import Evaluation


def make_facts(**changes: Any) -> dict[str, Any]:
    """As test.py has them. `changes`: whole entries."""
    return {
        "model": "TSM",
        "protocol": {
            "name": "v15",
            "sampling": "tsn_test",
            "clips": 1,
            "resize": "short_side",
            "crops": "center1",
            "average": "logits",
            "short_size": 256,
            "target_size": 224,
            "frames": 8,
            "stride": None,
            "views": 1,
        },
        "weights": {"name": "TSM_k400", "sha256": "a" * 64},
        "list": {"path": "val.list", "fingerprint": "b" * 16, "videos": 8},
        "engine": {"name": "paddle", "description": "Paddle 3.3.1", "device": "cpu", "precision": "float32"},
        "paddle": "3.3.1",
        "config": {"MODEL": {"num_classes": 3, "image_mean": [0.5, 0.5, 0.5]}, "TEST": {"batch_size": 4}},
        "made_at": "2026-11-26T08:00:00Z",
        "seconds": 1.5,
        "videos_per_second": 4.0,
        **changes,
    }


def make_evaluation(
    labels: list[int],
    predicted: list[int],
    *,
    names: list[str] | None = None,
    failures: int = 0,
    orders: tuple[str, ...] = (),
    seed: int = 0,
    **facts: Any,
) -> Evaluation:
    """Videos 0.mp4, 1.mp4 ... of these labels, whose largest logit is that of the class `predicted`."""
    rng = np.random.default_rng(seed)
    names = names or ["abseiling", "yoga", "zumba"]
    found = {}
    for order in ("natural", *orders):
        logits = rng.normal(size=(len(labels), len(names))).astype(np.float32)
        if order == "natural":
            logits[np.arange(len(labels)), predicted] = logits.max(axis=1, initial=0) + 0.5
        found[order] = logits
    return Evaluation(
        ids=[f"{i}.mp4" for i in range(len(labels))],
        labels=np.array(labels, np.int64),
        logits=found,
        failures=[(f"broken{i}.mp4", "no video stream") for i in range(failures)],
        names=names,
        facts=make_facts(**facts),
    )
