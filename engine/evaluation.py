"""What test.py finds out: the logits of each video of a list, whatever computed them and in how many processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.protocols import protocol_of
from video_zoo.engine.backends import ENGINES

if TYPE_CHECKING:
    from video_zoo.datareader.reader import VideoReader
    from video_zoo.engine.backends.base import Backend
    from video_zoo.engine.deployment import Deployment
    from video_zoo.utils.fluid_vars import VariableStore

NATURAL = "natural"
ORDERS = (NATURAL, "reverse", "shuffle")  # of a clip's frames


@dataclass(frozen=True)
class Evaluation:
    """The results of one pass over a labelled list, each video exactly once.

    Args:
        ids: of the videos that were read, as their list names them, in its order.
        labels: int64 (n,), each of a class.
        logits: order of the frames -> float32 (n, num_classes), the mean over a video's views; their softmax is its
            probabilities. "natural" is always there.
        failures: the videos that could not be read, and why.
        names: of the classes, by index.
        facts: how they were computed, as eval.json has it.
    """

    ids: list[str]
    labels: np.ndarray
    logits: Mapping[str, np.ndarray]
    failures: list[tuple[str, str]]
    names: list[str]
    facts: Mapping[str, Any]


def describe(
    settings: Config, reader: VideoReader, backend: Backend, precision: str, weights: VariableStore | Deployment
) -> dict[str, Any]:
    """What eval.json says of how the numbers came about.

    Args:
        weights: where they are from.
    """
    engine = {"name": backend.engine, "description": backend.description, "device": backend.device}
    paddle = sys.modules["paddle"].__version__ if ENGINES.get(backend.engine).needs_paddle() else None
    return {
        "model": settings.MODEL.name.upper(),
        "weights": {"name": str(weights.path), "sha256": weights.sha256()},
        "protocol": protocol_of(settings).facts(),
        "list": {"path": str(settings.TEST.filelist), "fingerprint": reader.fingerprint(), "videos": len(reader)},
        "engine": {**engine, "precision": precision},
        "paddle": paddle,
        "config": {"MODEL": asdict(settings.MODEL), "TEST": asdict(settings.TEST)},
    }


def what_decides_digits(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without those that change no digit: what an evaluation that goes on must have in common with the one
    that was stopped."""
    free = {"filelist", "num_reader_threads", "buf_size", "decode_timeout_s", "max_bad_videos"}
    section = {key: value for key, value in facts["config"]["TEST"].items() if key not in free}
    listed = {key: value for key, value in facts["list"].items() if key != "path"}
    weights = {"sha256": facts["weights"]["sha256"]}  # which may be named in several ways
    return {**facts, "weights": weights, "list": listed, "config": {**facts["config"], "TEST": section}}
