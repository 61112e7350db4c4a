"""The list file of a Kinetics csv and a folder of its videos, and what the folder lacks, class by class.

python dataset/kinetics/make_list.py kinetics-400_train.csv VIDEO_DIR dataset/kinetics/train.list
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import collections
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from video_zoo.datareader.labels import read_class_names
from video_zoo.dataset.folders import missing_table, path_prefix, walk
from video_zoo.dataset.kinetics.kinetics_csv import NO_LABEL, Clip, find_label_file, read_clips
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.log import set_up_logging
from video_zoo.utils.registry import did_you_mean

HELP = """
A clip is looked for, anywhere below VIDEO_DIR, in this order:
  VIDEO_DIR/CLASS/ID_START_END.mp4    START and END in seconds, six digits: abseiling/0347ZoDXyP0_000095_000105.mp4
  VIDEO_DIR/CLASS_WITH_UNDERSCORES/ID_START_END.mp4
  VIDEO_DIR/ID_START_END.mp4          (or in any other folder)
  VIDEO_DIR/.../ID.mp4

Lines, in the order of the csv:
  mp4   `path label`, one space between; label -1 where the csv has none (the test split: for infer only)
  pkl   `path`; the label is inside the pickle

A path starts with VIDEO_DIR as you give it, so a relative one stays relative. It must lead to the videos from the
repository's root, where train.py is run, or from the folder of OUT.list. If it does neither, paths are absolute.
"""
# What PaddleVideo v1.5 trained on: total_videos of its configs.
V15_TRAINING_VIDEOS = {"TSM": 239_781, "TSN": 224_684}


class VideoFolder:
    """The files of one kind below a folder, from a single walk.

    Args:
        folder: as the user gives it; the paths found start with it.
        extension: ".mp4" or ".pkl", upper or lower case.

    Raises InputError if `folder` is not a folder.
    """

    def __init__(self, folder: str, extension: str):
        self.folder = folder = folder.rstrip(os.sep) or os.sep
        self.extension = extension
        self._paths: dict[str, list[str]] = collections.defaultdict(list)  # file name without extension -> paths
        for parent, files in walk(folder, f"{extension} files"):
            for file in files:
                stem, suffix = os.path.splitext(file)
                if suffix.lower() == extension:
                    self._paths[stem].append(os.path.join(parent, file))

    def __len__(self) -> int:
        return sum(map(len, self._paths.values()))

    def first_place(self, clip: Clip) -> str:
        """The path where a clip is looked for first."""
        return os.path.join(self.folder, clip.label, clip.name + self.extension)

    def find(self, clip: Clip) -> str | None:
        """The path of a clip's file, or None."""
        for stem in (clip.name, clip.youtube_id):
            if stem in self._paths:
                return min(self._paths[stem], key=lambda path: (self._rank(path, clip.label), path))
        return None

    def nothing_found(self, csv: str, clips: list[Clip]) -> InputError:
        """The error for a folder that has not one of the clips."""
        example = min((paths[0] for paths in self._paths.values()), default="")
        return InputError(
            f"{self.folder} has none of the {len(clips)} clips of {csv}; "
            f"looked first for {self.first_place(clips[0])}; the folder holds {len(self)} {self.extension} files"
            + (f", such as {example}" if example else "")
        )

    def _rank(self, path: str, label: str) -> int:
        parent = os.path.dirname(path)
        wanted = [os.path.join(self.folder, label), os.path.join(self.folder, label.replace(" ", "_")), self.folder]
        return wanted.index(parent) if label and parent in wanted else len(wanted)


def unique_clips(clips: Iterable[Clip]) -> tuple[list[Clip], int]:
    """The clips without repetitions, and how many were dropped; the first stays. Says if the classes differ."""
    kept: dict[str, Clip] = {}
    dropped = 0
    for clip in clips:
        first = kept.setdefault(clip.name, clip)
        dropped += first is not clip
        if first.label != clip.label:
            print(
                f"warning: {clip.name} is {first.label!r} in line {first.line}, {clip.label!r} in line {clip.line}; "
                "the first is taken",
                file=sys.stderr,
            )
    return list(kept.values()), dropped


def class_indices(csv: str, clips: Iterable[Clip], label_file: str | os.PathLike) -> dict[str, int]:
    """Class name -> index for all clips; a clip without a class has "" -> NO_LABEL.

    Raises InputError for a class that the label file does not know.
    """
    indices = {name: index for index, name in enumerate(read_class_names(label_file))}
    for clip in clips:
        if clip.label and clip.label not in indices:
            near = did_you_mean(clip.label, list(indices))
            raise InputError(f"{csv}:{clip.line}: class {clip.label!r} is not in {label_file}{near}")
    indices[""] = NO_LABEL
    return indices


def main() -> None:
    parser = cli.Parser(description=__doc__, epilog=HELP)
    parser.add_argument(
        "csv", metavar="CSV", help="a csv of Kinetics: label,youtube_id,time_start,time_end,split,is_cc"
    )
    parser.add_argument("video_dir", metavar="VIDEO_DIR", type=os.path.expanduser, help="the folder of the videos")
    parser.add_argument("list_file", metavar="OUT.list", type=os.path.expanduser, help="the list to write")
    parser.add_argument("--format", choices=("mp4", "pkl"), default="mp4", help="what to list (default: mp4)")
    parser.add_argument(
        "--labels",
        type=cli.optional_path,
        help="the label file (default: kinetics400_label.txt in the current folder, or else beside this script)",
    )
    parser.add_argument("--missing", type=cli.optional_path, help="write the youtube ids not found here, one a line")
    flags = parser.parse_args()
    set_up_logging()

    clips, repeated = unique_clips(read_clips(flags.csv))
    indices = {}
    if flags.format == "mp4" or flags.labels:
        indices = class_indices(flags.csv, clips, find_label_file(flags.labels, Path(__file__).resolve().parent))
    folder = VideoFolder(flags.video_dir, f".{flags.format}")
    places = {clip: folder.find(clip) for clip in clips}
    missing = [clip for clip in clips if places[clip] is None]
    if len(missing) == len(clips):
        raise folder.nothing_found(flags.csv, clips)

    prefix = path_prefix(folder.folder, flags.list_file)
    with atomic_file(flags.list_file) as file:
        for clip, place in places.items():
            if place is not None:
                path = prefix + place[len(folder.folder) :]
                file.write(f"{path} {indices[clip.label]}\n" if flags.format == "mp4" else f"{path}\n")
    if flags.missing:
        with atomic_file(flags.missing) as file:
            file.writelines(f"{clip.youtube_id}\n" for clip in missing)
    _report(flags, clips, missing, repeated, len(folder))


def _report(flags, clips: list[Clip], missing: list[Clip], repeated: int, files: int) -> None:
    found = len(clips) - len(missing)
    print("\n".join(missing_table((clip.label for clip in clips), (clip.label for clip in missing), "csv")))
    print(f"{flags.csv}: {len(clips)} clips" + (f" ({repeated} repeated rows dropped)" if repeated else ""))
    print(f"{flags.video_dir}: {files} {flags.format} files; {found} are clips of the csv")
    print(f"{flags.list_file}: {found} lines" + (f"; {flags.missing}: {len(missing)} ids" if flags.missing else ""))
    if all(clip.split == "train" for clip in clips):
        trained = ", ".join(f"{model} on {videos:,}" for model, videos in V15_TRAINING_VIDEOS.items())
        print(
            f"you have {found:,} training videos; PaddleVideo v1.5 trained {trained}; set TRAIN.total_videos = {found}"
        )


if __name__ == "__main__":
    cli.run(main)
