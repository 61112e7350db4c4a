"""A whole training: epochs, validations, checkpoints, and going on where one was stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from paddle.nn.layer.norm import _BatchNormBase

from video_zoo.engine.board import Board
from video_zoo.engine.checkpoint import Checkpoints, NotFinite, State, save, save_state
from video_zoo.engine.evaluate import evaluate
from video_zoo.engine.interfaces import Metrics, TrainReader
from video_zoo.engine.ranks import Ranks
from video_zoo.engine.step import Stepper
from video_zoo.engine.train import EpochSummary, ReaderWatch, train_one_epoch
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, logger
from video_zoo.utils.runtime import peak_memory
from video_zoo.utils.stop import Stop, Stopped


@dataclass
class Training:
    """What a training is made of; `run` runs it.

    Args:
        stepper: the network with its optimizer.
        reader, metrics: of the training.
        valid_reader, valid_metrics: of the validation; None: there is none.
        ranks: the processes that train together; the first one writes.
        state: where the training is.
        checkpoints: their places.
        board: curves; None in all ranks but the first.
        info: what a checkpoint tells beside the state.
        seed: of the random draws.
        epochs: passes in all.
        valid_interval: epochs between validations.
        save_interval: steps between checkpoints within an epoch; 0: none.
        log_interval: steps between log lines; 0: none.
    """

    stepper: Stepper
    reader: TrainReader
    metrics: Metrics
    valid_reader: TrainReader | None
    valid_metrics: Metrics
    ranks: Ranks
    state: State
    checkpoints: Checkpoints
    board: Board | None
    info: dict[str, Any]
    seed: int
    epochs: int
    valid_interval: int
    save_interval: int
    log_interval: int
    _saved_step: int = field(init=False)
    _watch: ReaderWatch = field(init=False, default_factory=ReaderWatch)

    def __post_init__(self):
        self._saved_step = self.state.global_step

    def run(self) -> EpochSummary:
        """Trains what is left; returns the last epoch's summary.

        A signal saves a checkpoint and ends the process (SystemExit). Raises InputError: the loss is not finite, too
        many videos are bad, or a checkpoint cannot be written.
        """
        if self.ranks.first:
            self._settle()
        to_do = (self.epochs - self.state.epoch) * len(self.reader) - self._videos_done()
        progress = Progress(to_do)
        repeats_s = 0 if self.ranks.size == 1 else 5  # the launcher says everything three times
        with Stop("stopping after this step; once more ends at once", repeats_s) as stop:
            try:
                while True:
                    summary = self._epoch(progress, stop)
                    if self.state.epoch >= self.epochs:
                        return summary
            except Stopped as stopped:
                self._end(stopped)
            except SystemExit:  # the second signal
                logger.warning("ended at once; the last checkpoint: %s", self.checkpoints.last or "there is none yet")
                raise
            except NotFinite as error:
                last = self.checkpoints.last
                raise InputError(f"{error}. The last good checkpoint: {last or 'there is none yet'}") from error

    def _settle(self) -> None:
        """Does what a killed training had left to do after its last checkpoint."""
        if self.checkpoints.last == self.checkpoints.best():  # the epoch's own one may not know of the validation
            place = self.checkpoints.path(self.state.epoch - 1)
            if self.state.iteration == 0 and place.exists():
                save_state(place, self.state, self._told())
            self.checkpoints.last = place if place.exists() else None
        if self.checkpoints.last:
            self.checkpoints.prune()

    def _epoch(self, progress: Progress, stop: Stop) -> EpochSummary:
        """The rest of an epoch, its checkpoint, and its validation."""
        state, epoch = self.state, self.state.epoch
        self.reader.epoch, self.reader.first_batch = epoch, state.iteration
        summary = train_one_epoch(
            *(self.stepper, self.reader, self.metrics, progress, self.board, self.ranks, state, stop, self._watch),
            seed=self.seed,
            log_interval=self.log_interval,
            after_step=self._save_within,
        )
        self._share_failures(self.reader)
        line = "[TRAIN] Epoch %d training finished, average time: %.4f  %s, memory: %s"
        logger.info(line, epoch, summary.step_s, summary.scores, peak_memory())
        validate = self.valid_reader is not None and (epoch + 1) % self.valid_interval == 0
        place = self.checkpoints.path(epoch)
        if not validate:
            state.next_epoch()
        if self.checkpoints.last != place:
            self._save(place)
        if validate:
            with stop.at_once():
                improved = self._validate()
            state.next_epoch()
            if improved:
                self._save(self.checkpoints.best())
                logger.info("best so far: %s", self.checkpoints.best())
            if self.ranks.first:
                save_state(place, state, self._told())
        return summary

    def _validate(self) -> bool:
        """Validates; returns whether the network is better than ever before."""
        norms = (layer for layer in self.stepper.network.sublayers() if isinstance(layer, _BatchNormBase))
        self.ranks.spread(buffer for layer in norms for buffer in layer.buffers())  # each rank has seen other clips
        pace, line = Progress(len(self.valid_reader)), "[TEST] test_iter {}"
        scores = evaluate(
            *(self.stepper.network, self.valid_reader, self.valid_metrics, pace),
            log_interval=self.log_interval,
            line=line,
            ranks=self.ranks,
        )
        self._share_failures(self.valid_reader)
        logger.info("[TEST] Finish  %s over %d videos, %s", scores, scores.samples, pace)
        if self.board:
            self.board.add("valid", self.state.global_step, scores, **pace.milliseconds())
        improved = scores.top1 > self.state.best_top1
        self.state.best_top1 = max(scores.top1, self.state.best_top1)
        return improved

    def _share_failures(self, reader: TrainReader) -> None:
        """All ranks know of all bad videos, and stop together if they are too many."""
        parts = self.ranks.gather((reader.failures, reader.damaged))
        reader.failures, reader.damaged = ([video for part in kind for video in part] for kind in zip(*parts))
        if reader.failures:
            reader.check_failures()

    def _save_within(self) -> None:
        state = self.state
        if self.save_interval and state.iteration % self.save_interval == 0 and state.iteration < self.reader.batches:
            self._save(self.checkpoints.path(state.epoch, state.iteration))

    def _save(self, folder: Path) -> None:
        """A checkpoint; older ones go when it is there."""
        if self.ranks.first:
            save(folder, self.stepper.network.variables(), self.stepper.optimizer, self.state, self._told())
        self._saved_step = self.state.global_step
        if folder != self.checkpoints.best():
            self.checkpoints.last = folder
            if self.ranks.first:
                self.checkpoints.prune()

    def _told(self) -> dict[str, Any]:
        return {**self.info, "loss_scale": self.stepper.state()}

    def _end(self, stopped: Stopped) -> NoReturn:
        if self._saved_step != self.state.global_step:
            self._save(self.checkpoints.path(self.state.epoch, self.state.iteration))
        place = self.checkpoints.last
        how = f"{place} is where --resume={place} or --resume=auto goes on" if place else "nothing is done yet"
        logger.info("stopped in epoch %d, before iter %d: %s", self.state.epoch, self.state.iteration, how)
        raise SystemExit(stopped.code)

    def _videos_done(self) -> int:
        return min(self.state.iteration * self.reader.batch_size, len(self.reader))
