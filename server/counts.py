"""What Prometheus is told at /metrics; each server has a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Counts:
    """The server's counters.

    Attributes:
        requests: by path and status; paths that the server does not know are "other".
        seconds: from a request's first byte to the answer's last one, by path.
        waiting: videos that wait for the network.
        videos, clips, camera_frames: computed so far.
        cameras: connected now.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        where = {"registry": self._registry}
        self.requests = Counter("zoo_requests", "Requests by path and status.", ("path", "status"), **where)
        self.seconds = Histogram("zoo_request_seconds", "Time of a request.", ("path",), buckets=_SECONDS, **where)
        self.waiting = Gauge("zoo_queue_length", "Videos that wait for the network.", **where)
        self.videos = Counter("zoo_videos", "Videos that were predicted.", **where)
        self.clips = Counter("zoo_clips", "Clips that the network was given.", **where)
        self.cameras = Gauge("zoo_cameras", "Cameras that are connected.", **where)
        self.camera_frames = Counter("zoo_camera_frames", "Frames that cameras sent.", **where)

    def text(self) -> bytes:
        """Prometheus' text format."""
        lines = generate_latest(self._registry).splitlines(keepends=True)
        return b"".join(line for line in lines if b"_created" not in line)  # when a counter began: nobody asks for it
