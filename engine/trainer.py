"""A whole training: epochs, validations, checkpoints, and going on where one was stopped."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import paddle

from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.batch_norm import broadcast_statistics
from video_zoo.engine.board import Board
from video_zoo.engine.checkpoint import Checkpoints, Facts, NotFinite, State, copy_state, save, save_state
from video_zoo.engine.evaluate import VideoLogits, evaluate
from video_zoo.engine.ranks import Ranks
from video_zoo.engine.reader_watch import ReaderWatch
from video_zoo.engine.stepper import Stepper
from video_zoo.engine.training_checks import say_first_loss
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, heartbeat, logger, timed
from video_zoo.utils.paddle_env import gpu_memory, peak_memory
from video_zoo.utils.stop import Stop, Stopped

if TYPE_CHECKING:
    from video_zoo.datareader.batches import Batch
    from video_zoo.datareader.reader import VideoReader
    from video_zoo.metrics.metric import MetricSet, Scores


@dataclass(frozen=True)
class EpochSummary:
    """The steps of this process, the mean seconds a step without the first one (which warms up), and the scores of the
    whole epoch, including the part before a resume."""

    steps: int
    step_s: float
    scores: Scores


@dataclass(frozen=True)
class Plan:
    """How long a training is, and how often it does what.

    Args:
        epochs: passes in all.
        valid_interval: epochs between validations.
        save_interval: steps between checkpoints within an epoch; 0: none.
        log_interval: steps between log lines; 0: none.
        seed: of the random draws (dropout), with the step and the rank.
        new_classes: of a last layer that knows nothing yet, for which the first loss is looked at; None: it is not.
    """

    epochs: int = 1
    valid_interval: int = 1
    save_interval: int = 0
    log_interval: int = 0
    seed: int = 0
    new_classes: int | None = None


@dataclass
class Trainer:
    """What a training is made of; `run` runs it.

    Args:
        stepper: the network with its optimizer.
        reader: of the training.
        metrics: of the training and the validation.
        ranks: the processes that train together; the first one writes.
        state: where the training is; it is kept up to date after every step.
        checkpoints: their places.
        facts: what a checkpoint tells beside the state.
        plan: how long, and how often.
        valid_reader: None: nothing is validated.
        board: curves; None in all ranks but the first.
    """

    stepper: Stepper
    reader: VideoReader
    metrics: MetricSet
    ranks: Ranks
    state: State
    checkpoints: Checkpoints
    facts: Facts
    plan: Plan
    valid_reader: VideoReader | None = None
    board: Board | None = None
    progress: Progress = field(init=False)
    stop: Stop = field(init=False)
    _saved_step: int = field(init=False)
    _more_is_better: bool = field(init=False)
    _watch: ReaderWatch = field(init=False, default_factory=ReaderWatch)

    def __post_init__(self):
        self.progress = Progress(None)
        repeats_s = 0 if self.ranks.size == 1 else 5  # the launcher says everything three times
        self.stop = Stop("stopping after this step; once more ends at once", repeats_s)
        self._saved_step = self.state.global_step
        self._more_is_better = self.metrics.more_is_better(self.state.best_metric)

    def run(self) -> EpochSummary:
        """Trains what is left; returns the last epoch's summary.

        A signal saves a checkpoint and ends the process (SystemExit). Raises InputError: the loss is not finite, too
        many videos are bad, or a checkpoint cannot be written.
        """
        if self.ranks.first:
            self._settle()
        done = min(self.state.iteration * self.reader.batch_size, len(self.reader))
        self.progress = Progress((self.plan.epochs - self.state.epoch) * len(self.reader) - done)
        with self.stop:
            try:
                while True:
                    summary = self._epoch()
                    if self.state.epoch >= self.plan.epochs:
                        return summary
            except Stopped as stopped:
                self._end(stopped)
            except SystemExit:  # the second signal
                logger.warning("ended at once; the last checkpoint: %s", self.checkpoints.last or "there is none yet")
                raise
            except NotFinite as error:
                last = self.checkpoints.last
                raise InputError(f"{error}. The last good checkpoint: {last or 'there is none yet'}") from error

    def train_epoch(self) -> EpochSummary:
        """The steps that are left of the epoch under way, one for each batch of the reader.

        Raises:
            NotFinite: the loss; the message names the step, the learning rate and the videos. The weights are those of
                before the step.
            Stopped: `stop` was asked for: in one rank, it stops all of them after the same step; a rank alone, also
                while it waits for the reader.
        """
        self.stepper.network.train()
        self.metrics.reset()
        if self.state.totals:
            self.metrics.restore(self.state.totals)
        seconds = []
        for batch, reader_s in timed(self.reader, self._waiting):
            start = time.monotonic()
            scores, learning_rate, stopping = self._step(batch)
            compute_s = time.monotonic() - start
            seconds.append(reader_s + compute_s)
            if self.plan.new_classes and self.ranks.first and self.state.global_step == 1:
                say_first_loss(scores, self.plan.new_classes)
            self._tell(scores, learning_rate, reader_s, compute_s)
            self._save_within_epoch()
            if stopping:
                self.stop.end()
        steady = seconds[1:] or seconds
        return EpochSummary(len(seconds), sum(steady) / max(len(steady), 1), self.metrics.compute())

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Around each wait for the reader, in which one rank alone may stop at once."""
        at_once = self.stop.at_once() if self.ranks.size == 1 else contextlib.nullcontext()
        with heartbeat(f"waiting for the reader at epoch {self.state.epoch}, iter {self.state.iteration}"), at_once:
            yield

    def _step(self, batch: Batch) -> tuple[Scores, float, bool]:
        """One step: the scores of all ranks' batches, its learning rate, and whether a rank is to stop after it."""
        state = self.state
        paddle.seed(_step_seed(self.plan.seed, state.global_step, self.ranks.rank))
        with heartbeat(f"computing epoch {state.epoch}, iter {state.iteration}"):
            outcome = self.stepper.forward(batch.clips, batch.labels, batch.global_batch_size)
            measured = self.metrics.measure(outcome.losses, outcome.logits, batch.labels)
            *measured_by_all, stopping = self.ranks.all_reduce([*measured, self.stop.signal is not None])
            scores = self.metrics.update(np.asarray(measured_by_all))
            if not math.isfinite(scores["loss"]):
                raise NotFinite(self._describe_loss(scores["loss"], outcome.losses, batch))
            learning_rate = self.stepper.update()
        state.iteration, state.global_step = state.iteration + 1, state.global_step + 1
        state.totals = self.metrics.state().tolist()
        return scores, learning_rate, bool(stopping)

    def _describe_loss(self, loss: float, losses: np.ndarray, batch: Batch) -> str:
        """What is known of a loss that is not finite; it names the batches of the ranks whose own it is."""
        guilty = [] if np.isfinite(losses[batch.labels >= 0]).all() else batch.ids
        videos = [video for ids in self.ranks.all_gather(guilty) for video in ids]
        state = self.state
        return (
            f"the loss is {loss} in epoch {state.epoch}, iter {state.iteration} (step {state.global_step}), at learning"
            f" rate {self.stepper.schedule():g}. A smaller --learning_rate or TRAIN.clip_grad_norm may help. The batch:"
            f" {', '.join(videos)}"
        )

    def _tell(self, scores: Scores, learning_rate: float, reader_s: float, compute_s: float) -> None:
        """Puts a step into the progress, the curves and the log."""
        state, iteration = self.state, self.state.iteration - 1
        self.progress.add(scores.samples, reader=reader_s, compute=compute_s)
        self._watch.add(reader_s, compute_s)
        if self.board:
            times = {"reader_ms": 1000 * reader_s, "compute_ms": 1000 * compute_s}
            self.board.add("train", state.global_step - 1, scores, learning_rate=learning_rate, **times)
        if self.plan.log_interval:
            said = f"[TRAIN] Epoch {state.epoch}, iter {iteration}  {scores}"
            self.progress.say(said, gpu_memory(), due=iteration % self.plan.log_interval == 0)

    def _epoch(self) -> EpochSummary:
        """The rest of an epoch, its checkpoint, and its validation."""
        state, epoch = self.state, self.state.epoch
        self.reader.epoch, self.reader.first_batch = epoch, state.iteration
        summary = self.train_epoch()
        self._share_failures(self.reader)
        if summary.steps:  # none where a training goes on at the end of an epoch, before its validation
            line = "[TRAIN] Epoch %d training finished, average time: %.4f  %s, memory: %s"
            logger.info(line, epoch, summary.step_s, summary.scores, peak_memory())
        validate = self.valid_reader is not None and (epoch + 1) % self.plan.valid_interval == 0
        place = self.checkpoints.path(epoch)
        if not validate:
            state.next_epoch()
        if self.checkpoints.last != place:
            self._save(place)
        if validate:
            with self.stop.at_once():
                improved = self._validate()
            state.next_epoch()
            if improved:
                self._save(self.checkpoints.best())
                logger.info("best so far: %s", self.checkpoints.best())
            if self.ranks.first:
                save_state(place, state, self._facts())
        return summary

    def _validate(self) -> bool:
        """Validates; returns whether the network is better than ever before."""
        broadcast_statistics(self.stepper.network, self.ranks)
        progress, line = Progress(len(self.valid_reader)), "[TEST] test_iter {}"
        scores = evaluate(
            *(VideoLogits(PaddleNetwork(self.stepper.network).logits), self.valid_reader, self.metrics, progress),
            log_interval=self.plan.log_interval,
            line=line,
            ranks=self.ranks,
        )
        self._share_failures(self.valid_reader)
        logger.info("[TEST] Finish  %s over %d videos, %s", scores, scores.samples, progress)
        if self.board:
            self.board.add("valid", self.state.global_step, scores, **progress.milliseconds())
        value, best = scores[self.state.best_metric], self.state.best
        better = best is None or (value > best if self._more_is_better else value < best)
        improved = better and math.isfinite(value)
        self.state.best = value if improved else best
        return improved

    def _share_failures(self, reader: VideoReader) -> None:
        """All ranks know of all bad videos, and stop together if they are too many."""
        of_ranks = self.ranks.all_gather((reader.failures, reader.damaged))
        reader.failures, reader.damaged = ([video for videos in kind for video in videos] for kind in zip(*of_ranks))
        if reader.failures:
            reader.check_failures()

    def _settle(self) -> None:
        """Does what a killed training had left to do after its last checkpoint."""
        if self.checkpoints.last == self.checkpoints.best():  # the epoch's own one may not know of the validation
            place = self.checkpoints.path(self.state.epoch - 1)
            if self.state.iteration == 0 and place.exists():
                copy_state(self.checkpoints.best(), place)
            self.checkpoints.last = place if place.exists() else None
        if self.checkpoints.last:
            self.checkpoints.prune()

    def _save_within_epoch(self) -> None:
        iteration, interval = self.state.iteration, self.plan.save_interval
        if interval and iteration % interval == 0 and iteration < self.reader.batches:
            self._save(self.checkpoints.path(self.state.epoch, iteration))

    def _save(self, folder: Path) -> None:
        """Writes a checkpoint; older ones go when it is there."""
        if self.ranks.first:
            save(folder, self.stepper.network.variables(), self.stepper.optimizer, self.state, self._facts())
        self._saved_step = self.state.global_step
        if folder != self.checkpoints.best():
            self.checkpoints.last = folder
            if self.ranks.first:
                self.checkpoints.prune()

    def _facts(self) -> Facts:
        """With the loss scale of now."""
        return replace(self.facts, loss_scale=self.stepper.state())

    def _end(self, stopped: Stopped) -> NoReturn:
        """Ends the process after a signal, with a checkpoint of the last step."""
        if self._saved_step != self.state.global_step:
            self._save(self.checkpoints.path(self.state.epoch, self.state.iteration))
        place = self.checkpoints.last
        how = f"{place} is where --resume={place} or --resume=auto goes on" if place else "nothing is done yet"
        logger.info("stopped in epoch %d, before iter %d: %s", self.state.epoch, self.state.iteration, how)
        raise SystemExit(stopped.code)


def _step_seed(seed: int, global_step: int, rank: int) -> int:
    """The same draws in the same step, however often the training was stopped before."""
    return int(np.random.SeedSequence([seed, global_step, rank]).generate_state(1)[0])


@contextlib.contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Turns a MemoryError of the block into an InputError that says what needs less memory."""
    try:
        yield
    except MemoryError as error:
        reason = (str(error).strip().splitlines() or ["no more is given"])[-1]
        raise InputError(
            f"memory ran out: {reason}. A smaller --batch_size, TRAIN.accumulate_steps or TRAIN.amp needs less."
        ) from error
