"""A tiny network, made-up clips for it, and all that trains it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Callable

import numpy as np
import paddle

from video_zoo.datareader.batches import Batch
from video_zoo.engine.checkpoint import Checkpoints, Facts, State
from video_zoo.engine.optimizer import momentum, piecewise_decay
from video_zoo.engine.ranks import Ranks
from video_zoo.engine.reader_watch import ReaderWatch
from video_zoo.engine.stepper import Stepper
from video_zoo.engine.trainer import EpochSummary, Plan, Trainer
from video_zoo.metrics import METRICS, make_metrics
from video_zoo.metrics.metric import Scores
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils.log import Progress
from video_zoo.utils.runtime import ALONE
from video_zoo.utils.stop import Stop

CLASSES = 4
SPEED = r", \d+\.\d videos/s, \d+:\d\d:\d\d (left|in all), reader \d+% compute \d+%"


def make_network(model: type[TSN] = TSM, seed: int = 0, dropout: float = 0.0, **options: object) -> TSN:
    paddle.seed(seed)
    sizes = {"num_layers": 18, "base_width": 8, "num_classes": CLASSES, "seg_num": 2}
    return model(dropout=dropout, **{**sizes, **options})


def learned(network: TSN) -> dict[str, paddle.Tensor]:
    """What the optimizer changes; Paddle counts BatchNorm's statistics among the parameters too."""
    return {name: tensor for name, tensor in network.named_parameters() if not tensor.stop_gradient}


def values_of(network: TSN) -> dict[str, np.ndarray]:
    """Weights and statistics, by v1.5's names."""
    return {name: tensor.numpy().copy() for name, tensor in network.variables().items()}


def gradients_of(network: TSN) -> dict[str, np.ndarray]:
    """Of what has one."""
    return {name: tensor.grad.numpy().copy() for name, tensor in learned(network).items() if tensor.grad is not None}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """To the bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def make_batch(size: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (size, 2, 3, 32, 32), dtype=np.uint8)
    names = [f"s{seed}_{number}.mp4" for number in range(size)]
    return Batch(clips, rng.integers(0, CLASSES, size), names, size)


def make_batches(*sizes: int) -> list[Batch]:
    return [make_batch(size, seed) for seed, size in enumerate(sizes)]


def part_of(batch: Batch, first: int, last: int) -> Batch:
    """Some of its clips, as a batch of their own."""
    some = slice(first, last)
    return Batch(batch.clips[some], batch.labels[some], batch.ids[some], len(batch.ids[some]))


class ByLabel(paddle.nn.Layer):
    """The logits are a clip's first pixels; clips of `batch_of_logits` say what comes out."""

    def forward(self, clips):
        return clips[:, 0, 0, 0, :CLASSES].astype("float32")


def batch_of_logits(rows: list[list[int]], labels: list[int]) -> Batch:
    clips = np.zeros((len(rows), 1, 3, 1, CLASSES), np.uint8)
    clips[:, 0, 0, 0] = rows
    return Batch(clips, np.array(labels, np.int64), [f"v{number}" for number in range(len(rows))], len(rows))


def make_scores(loss: float, top1: float, top5: float, samples: int) -> Scores:
    values = {"loss": loss, "top1": top1, "top5": top5}
    return Scores(values, samples, ", ".join(metric(CLASSES).describe(values) for metric in METRICS))


class FakeBoard:
    """Notes what it is given."""

    def __init__(self):
        self.rows = []

    def add(self, phase, step, scores, **others):
        self.rows.append((phase, step, scores, others))


class Training:
    """A network with its optimizer, and what is needed to train it for an epoch."""

    def __init__(
        self,
        network: TSN,
        learning_rate: float = 0.05,
        decay_epochs: tuple = (2,),
        steps: int = 2,
        clip_norm: float | None = None,
        **options: object,
    ):
        self.network = network
        self.schedule = piecewise_decay(learning_rate, 0.1, decay_epochs, steps)
        self.optimizer = momentum(network, self.schedule, 0.9, 1e-2, clip_norm=clip_norm)
        self.stepper = Stepper(network, self.optimizer, self.schedule, Ranks(ALONE), **options)
        self.board, self.metrics, self.progress = FakeBoard(), make_metrics(CLASSES), Progress(100)
        self.state, self.stop, self.watch = State(), Stop("stopping"), ReaderWatch()

    def run(
        self, batches, seed: int = 0, log_interval: int = 0, after_step: Callable[[], None] = lambda: None
    ) -> EpochSummary:
        """Goes on with the epoch that is under way; `state.next_epoch()` is the caller's."""
        plan, checkpoints = Plan(seed=seed, log_interval=log_interval), Checkpoints(Path(), "TSM")
        parts = (self.stepper, batches, self.metrics, Ranks(ALONE), self.state, checkpoints, Facts(), plan)
        trainer = Trainer(*parts, board=self.board)
        trainer.progress, trainer.stop, trainer._watch = self.progress, self.stop, self.watch
        trainer._save_within_epoch = after_step
        return trainer.train_epoch()

    def weights(self) -> dict[str, np.ndarray]:
        return values_of(self.network)


def as_on_a_gpu(monkeypatch) -> None:
    """Paddle's loss scaling, which is off on a CPU, is on where it is asked for; its kernels then run on the CPU."""
    place = SimpleNamespace(is_gpu_place=lambda: True)
    monkeypatch.setattr(paddle.amp.grad_scaler, "_dygraph_tracer", lambda: SimpleNamespace(_expected_place=place))
