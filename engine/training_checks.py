"""What is said of a training or an evaluation that may not give what is expected of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from video_zoo.metrics.statistics import wilson_interval
from video_zoo.utils.log import logger

if TYPE_CHECKING:
    from video_zoo.metrics.metric import Scores

FEW_OF_CLASS = 5  # videos to train with
FEW_TO_MEASURE = 20  # videos to validate or test with
_FAR_OFF = 1.0  # of the first loss from the logarithm of the classes, nats
_NAMED = 5  # classes in a line


def say_small_training(
    train: Iterable[int | None], valid: Iterable[int | None] | None, num_classes: int, names: Sequence[str]
) -> None:
    """Warns of classes with few videos or none to train with, of those that only the validation has, and of a small
    validation.

    Args:
        train, valid: the labels of the lists; None where a list has none. `valid` itself is None without a validation.
        names: of the classes.
    """
    valid = None if valid is None else list(valid)
    counts, measured = Counter(train), Counter(valid or ())
    if None not in counts:
        classes = range(num_classes)
        few = [f"{names[label]} ({counts[label]})" for label in classes if 0 < counts[label] < FEW_OF_CLASS]
        if few:
            text = "fewer than %d videos to train with: %s. A network hardly learns a class from so few"
            logger.warning(text, FEW_OF_CLASS, _some(few))
        unseen = [names[label] for label in classes if measured[label] and not counts[label]]
        if unseen:
            logger.warning("in the validation, but not in the training, so never right: %s", _some(unseen))
        absent = num_classes - sum(counts[label] > 0 for label in classes) - len(unseen)
        if absent:
            logger.warning("%d of %d classes (MODEL.num_classes) have no videos", absent, num_classes)
    if valid is not None:
        say_small_measurement(len(valid), "validate")


def say_small_measurement(count: int, verb: str) -> None:
    """Warns if an accuracy over `count` videos says little. `verb`: what is done with them, "validate" or "test"."""
    if 0 < count < FEW_TO_MEASURE:
        right = (count + 1) // 2
        low, high = wilson_interval(right, count)
        few = (count, "" if count == 1 else "s", verb, right, count, 100 * low, 100 * high)
        logger.warning("%d video%s to %s with: %d of %d right would mean an accuracy of %.0f%% to %.0f%% (95%%)", *few)


def say_first_loss(scores: Scores, classes: int) -> None:
    """Warns if the loss of a new last layer, before the first step, is not about ln(classes), the loss of guessing. It
    depends on neither the labels nor the learning rate.

    Args:
        scores: of the first batch.
    """
    loss, expected = scores["loss"], math.log(classes)
    if not scores.samples or abs(loss - expected) <= _FAR_OFF:
        return
    reason = "a last layer that has been trained already"
    if loss > expected:
        reason = (
            "weights of another network, frozen BatchNorm without weights, or frames that are not normalised as the"
        )
        reason += " weights expect (MODEL.image_mean, MODEL.image_std)"
    text = "the first loss is %.2f; that of a new last layer of %d classes is about ln(%d) = %.2f. It may mean %s"
    logger.warning(text, loss, classes, classes, expected, reason)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
