"""Kinetics' mp4 files to v1.5's pickles of jpegs, for format = "pkl" in a config.

    python video2pkl.py kinetics-400_train.csv SOURCE_DIR TARGET_DIR NUM_PROCESSES

SOURCE_DIR/CLASS/ID_START_END.mp4 becomes TARGET_DIR/ID_START_END.pkl: (video id, label, [jpeg bytes, one a frame]),
pickle protocol 2. START and END are seconds, six digits; the video id is ID_START_END. The other layouts that
make_list.py accepts are found too.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import collections
import os
from pathlib import Path

from video_zoo.datareader.decode import VideoError
from video_zoo.dataset.kinetics.jpeg_pickles import Job, convert
from video_zoo.dataset.kinetics.kinetics_csv import Clip, find_label_file, read_clips
from video_zoo.dataset.kinetics.make_list import VideoFolder, class_indices, unique_clips
from video_zoo.dataset.video_lists import MOST_PROCESSES, work
from video_zoo.utils import cli
from video_zoo.utils.files import atomic_file, fit_name, make_folder, remove_leftovers
from video_zoo.utils.log import set_up_logging

JPEG_QUALITY = 95
HELP = f"""
No ffmpeg program is needed: PyAV decodes all frames of a video, and OpenCV encodes them, at their size, as jpegs of
quality {JPEG_QUALITY} of 100 (--quality).

The label is the class's index in kinetics400_label.txt: the one in the current folder, or else beside this script. It
is -1 where the csv has no label (the test split: for infer only).

A pickle appears when it is complete, so a stopped run goes on where it was when the same command is given again.
TARGET_DIR/CSV_report.txt names the videos that are missing, unreadable or cut short.
"""


class Tally:
    """What became of each video."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.report: list[tuple[str, str, str]] = []  # (outcome, video id, what is wrong)

    def add(self, video_id: str, outcome: str, problem: str) -> None:
        """Counts one video; one that has a problem goes to the report."""
        self.counts[outcome] += 1
        if problem:
            self.report.append((outcome, video_id, problem))


def convert_all(jobs: list[Job], processes: int, tally: Tally) -> None:
    """Converts all jobs; a video that makes its process die is unreadable, the others go on.

    Raises InputError as soon as a pickle cannot be written; what is finished stays.
    """
    try:
        for (job,), result in work(convert, [(job,) for job in jobs], processes, timeout_s=0):
            outcome = ("unreadable", f"{job.source}: {result}") if isinstance(result, VideoError) else result
            tally.add(job.video_id, *outcome)
    finally:  # the processes have ended, perhaps while they were writing
        for folder in {Path(job.target).parent for job in jobs}:
            remove_leftovers(folder)


def plan(
    clips: list[Clip], folder: VideoFolder, target: Path, indices: dict[str, int], quality: int
) -> tuple[list[Job], int, list[tuple[str, str, str]]]:
    """What is to do: the jobs, how many clips have their pickle, and report rows of the missing videos."""
    there = set(os.listdir(target))
    jobs, missing = [], []
    for clip in clips:
        if f"{clip.name}.pkl" in there:
            continue
        source = folder.find(clip)
        if source is None:
            missing.append(("missing", clip.name, f"looked first for {folder.first_place(clip)}"))
        else:
            jobs.append(Job(source, str(target / f"{clip.name}.pkl"), clip.name, indices[clip.label], quality))
    return jobs, len(clips) - len(jobs) - len(missing), missing


def main() -> None:
    parser = cli.Parser(description=__doc__, epilog=HELP)
    parser.add_argument(
        "csv", metavar="CSV", help="a csv of Kinetics: label,youtube_id,time_start,time_end,split,is_cc"
    )
    parser.add_argument("source_dir", metavar="SOURCE_DIR", type=os.path.expanduser, help="the folder of the mp4 files")
    parser.add_argument("target_dir", metavar="TARGET_DIR", type=os.path.expanduser, help="where the pickles go")
    parser.add_argument(
        "processes",
        metavar="NUM_PROCESSES",
        type=cli.at_most(cli.positive_int, MOST_PROCESSES),
        help="videos at a time",
    )
    parser.add_argument(
        "--quality",
        type=cli.at_most(cli.positive_int, 100),
        default=JPEG_QUALITY,
        help=f"jpeg, 1 to 100 (default: {JPEG_QUALITY})",
    )
    flags = parser.parse_args()
    set_up_logging()

    clips, repeated = unique_clips(read_clips(flags.csv))
    indices = class_indices(flags.csv, clips, find_label_file(None, Path(__file__).resolve().parent))
    folder = VideoFolder(flags.source_dir, ".mp4")
    target = make_folder(flags.target_dir)
    jobs, there, missing = plan(clips, folder, target, indices, flags.quality)
    if not jobs and not there:
        raise folder.nothing_found(flags.csv, clips)
    print(
        f"{flags.csv}: {len(clips)} clips" + (f" ({repeated} repeated rows dropped)" if repeated else "") + ": "
        f"{there} done before, {len(missing)} missing, {len(jobs)} to convert, {flags.processes} at a time",
        flush=True,
    )
    tally = Tally()
    convert_all(jobs, flags.processes, tally)
    report = target / fit_name(Path(flags.csv).stem, "_report.txt")
    with atomic_file(report) as file:
        file.writelines("\t".join(row) + "\n" for row in missing + sorted(tally.report))
    counts = tally.counts
    print(
        f"{counts['written'] + counts['cut short']} written, {there} done before, {len(missing)} missing, "
        f"{counts['unreadable']} unreadable, {counts['cut short']} cut short; named in {report}"
    )


if __name__ == "__main__":
    cli.run(main)
