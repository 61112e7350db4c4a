"""What is measured: one line a model."""

from __future__ import annotations

from video_zoo.configs.schema import Config
from video_zoo.metrics.accuracy import KineticsMetrics
from video_zoo.utils.registry import Registry

METRICS: Registry[type[KineticsMetrics]] = Registry("metric")
METRICS.add("TSM", KineticsMetrics)
METRICS.add("TSN", KineticsMetrics)


def get_metrics(name: str, mode: str, config: Config) -> KineticsMetrics:
    """The metrics of a model for a mode ("train", "valid", "test")."""
    return METRICS.get(name)(config.MODEL.num_classes)
