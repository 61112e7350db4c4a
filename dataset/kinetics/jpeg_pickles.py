"""One video as v1.5's pickle of jpegs."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import av
import cv2

from video_zoo.datareader.decode import VideoError, open_video
from video_zoo.datareader.rgb import ToRGB
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
    jpegs, to_rgb = [], ToRGB()
    try:
        with open_video(Path(job.source)) as video:
            duration_s = (video.container.duration or 0) / av.time_base
            announced = video.stream.frames or duration_s * (video.stream.average_rate or 0)
            for frame in video.decode_all():
                image = cv2.cvtColor(to_rgb(frame), cv2.COLOR_RGB2BGR)
                jpegs.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, job.quality])[1].tobytes())
    except (VideoError, av.FFmpegError, cv2.error) as error:
        return "unreadable", f"{job.source}: {error}"
    damage = video.table.damage
    if not jpegs:
        return "unreadable", f"{job.source}: not one frame can be decoded{f': {damage}' if damage else ''}"
    with atomic_file(job.target, "wb") as file:
        pickle.dump((job.video_id, job.label, jpegs), file, protocol=2)
    if damage:
        return "cut short", f"{job.source}: {damage}; {len(jpegs)} frames before it"
    if len(jpegs) < CUT_SHORT * announced:
        return "cut short", f"{job.source}: {len(jpegs)} of {int(announced)} frames"
    return "written", ""
