"""The metrics that are computed for every model; a new one is added to METRICS."""

from __future__ import annotations

from video_zoo.metrics.accuracy import TopK
from video_zoo.metrics.loss import Loss
from video_zoo.metrics.metric import Metric, MetricSet

METRICS: tuple[type[Metric], ...] = (Loss, TopK)  # in the order of a log line


def make_metrics(num_classes: int) -> MetricSet:
    """All metrics, for labels from 0 to num_classes - 1."""
    return MetricSet([metric(num_classes) for metric in METRICS])
