"""One video as v1.5's pickle of jpegs."""

from __future__ import annotations

import dataclasses
import os
import pickle

import cv2

from video_zoo.utils.files import atomic_file

CUT_SHORT = 0.9  # fewer decoded frames than this share of what the file announces is worth a line in the report


@dataclasses.dataclass(frozen=True)
class Job:
    """One video to convert."""

    source: str
    target: str
    video_id: str
    label: int
    quality: int  # of the jpegs, 1 to 100


def convert(job: Job) -> tuple[str, str]:
    """Writes one pickle. Returns ("written" | "cut short" | "unreadable", what is wrong).

    One decoded frame is held at a time, and the jpegs of one video. Raises InputError if the pickle cannot be written.
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    video = cv2.VideoCapture(job.source, cv2.CAP_FFMPEG)
    jpegs = []
    try:
        announced = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        while True:
            more, frame = video.read()  # frame: (height, width, 3) uint8, BGR
            if not more:
                break
            jpegs.append(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, job.quality])[1].tobytes())
    except cv2.error as error:
        return "unreadable", f"{job.source}: {error.err}"
    finally:
        video.release()
    if not jpegs:
        size = os.path.getsize(job.source) if os.path.exists(job.source) else 0
        return "unreadable", f"{job.source}: no frame can be decoded ({size} bytes)"
    with atomic_file(job.target, "wb") as file:
        pickle.dump((job.video_id, job.label, jpegs), file, protocol=2)
    if len(jpegs) < CUT_SHORT * announced:
        return "cut short", f"{job.source}: {len(jpegs)} of {announced} frames"
    return "written", ""
