"""The lists and the label file of a public data set, from its official annotations and a folder of its videos, and what
the folder lacks, class by class.

python dataset/make_list.py ucf101 ucfTrainTestlist VIDEO_DIR dataset/ucf101
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from video_zoo.configs.schema import ModelSection
from video_zoo.datareader.class_folders import UNFIT
from video_zoo.datareader.labels import read_class_names, write_class_names
from video_zoo.dataset.folders import Place, Places, missing_table, path_prefix
from video_zoo.dataset.official import diving48, hmdb51, jester, something, ucf101
from video_zoo.dataset.official.annotations import DataSet, Entry, Official
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, make_folder
from video_zoo.utils.log import set_up_logging
from video_zoo.utils.texts import for_display

DATA_SETS = {
    "ucf101": ucf101.DATA_SET,
    "hmdb51": hmdb51.DATA_SET,
    "something_v1": something.V1,
    "something_v2": something.V2,
    "jester": jester.DATA_SET,
    "diving48": diving48.DATA_SET,
}
LABELS = Path(__file__).resolve().parent / "labels"
HELP = """
The lists, of which those are written whose official files are in ANNOTATIONS:
  ucf101, hmdb51               train1.list, test1.list ... test3.list, one pair a split; the published score is the
                               mean of the three
  something_v1, something_v2,  train.list, val.list, infer.list; of the last one, the test set, no classes are
  jester                       published: label -1
  diving48                     train.list, test.list of V2, v1_train.list, v1_test.list of V1
and label.txt, `NAME INDEX` a line. Kinetics has its own tool, dataset/kinetics/make_list.py.

A video is looked for anywhere below VIDEO_DIR, with any extension that videos have, first in the folder of its class.
With --format=frames it is a folder of images that has the video's name; its images are counted.

Lines: `path label`, or with --format=frames `folder num_frames label`. A path starts with VIDEO_DIR as you give it. It
must lead to the videos from the repository's root, where train.py is run, or from OUT_DIR; if it does neither, paths
are absolute.
"""
_SHOWN = 5  # problems of a list that are printed


class Found(NamedTuple):
    """A video of the annotations, and where it is; None: nowhere."""

    entry: Entry
    place: Optional[Place]

    @property
    def usable(self) -> bool:
        """Whether it goes into a list."""
        return self.place is not None and self.place.problem is None


def unique_entries(entries: Iterable[Entry]) -> list[Entry]:
    """The entries without repetitions; the first stays. Raises InputError if one video has two classes, or a name that
    fits no list."""
    kept: dict[str, Entry] = {}
    for entry in entries:
        if UNFIT.search(entry.names[0]):
            raise InputError(f"{entry.place}: the name {entry.names[0]!r} is not one line of text")
        first = kept.setdefault(entry.names[0], entry)
        if first.label != entry.label:
            raise InputError(f"{entry.place}: {entry.names[0]} has another class in {first.place}")
    return list(kept.values())


def find_all(official: Official, places: Places) -> dict[str, list[Found]]:
    """The name of a list -> its videos. Raises InputError if not one of all of them can be used."""
    found = {}
    for name, entries in official.lists.items():
        found[name] = [
            Found(entry, places.find(entry.names, official.names[entry.label] if entry.label >= 0 else ""))
            for entry in unique_entries(entries)
        ]
    if not any(video.usable for videos in found.values() for video in videos):
        first = next(video for videos in found.values() for video in videos)
        problem = f"; {first.place.problem}" if first.place else ""
        raise InputError(
            f"{places.folder} has none of the videos of {', '.join(found)}; looked for {first.entry.names[0]}{problem};"
            f" it holds {len(places)} {places.what}{places.example()}"
        )
    return found


def write_list(path: str, videos: list[Found], folder: str, prefix: str) -> int:
    """Writes the lines of the videos that can be used, with `prefix` for `folder`; returns how many there are.

    Without any, nothing is written. Raises InputError if the file cannot be written.
    """
    usable = [video for video in videos if video.usable]
    if usable:
        with atomic_file(path) as file:
            for entry, place in usable:
                frames = "" if place.num_frames is None else f"{place.num_frames} "
                file.write(f"{prefix}{place.path[len(folder) :]} {frames}{entry.label}\n")
    return len(usable)


def report(name: str, videos: list[Found], names: list[str]) -> None:
    """Prints what of a list is missing, class by class, and the first folders of images with gaps."""
    missing = [video for video in videos if not video.usable]
    titles = [*names, ""]  # NO_LABEL, -1: ""
    classes, lacking = ((titles[video.entry.label] for video in part) for part in (videos, missing))
    print(f"\n{name}:")
    print("\n".join(missing_table(classes, lacking, "list")))
    problems = [video.place.problem for video in missing if video.place]
    for problem in problems[:_SHOWN]:
        print(for_display(f"left out: {problem}"))
    if len(problems) > _SHOWN:
        print(f"left out likewise: {len(problems) - _SHOWN} more")


def label_lines(data_set: DataSet, names: list[str], path: str) -> list[str]:
    """What a config must say of the classes."""
    shipped = LABELS / data_set.labels
    same = names == read_class_names(shipped)
    lines = [f"{path}: {len(names)} classes, " + (f"those of {shipped}" if same else f"other than in {shipped}")]
    if not same:
        lines.append(f"so the config needs MODEL.num_classes = {len(names)} and MODEL.class_names = {path}")
    there = [pair for pair in data_set.mirrored if set(pair) <= set(names)]
    if there:
        pairs = [[names.index(name) for name in pair] for pair in there]
        lines.append(f"a mirrored video changes its class: TRAIN.flip_labels = {pairs}, or TRAIN.flip = False")
    return lines


def parse_flags() -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__, epilog=HELP)
    add = parser.add_argument
    add("data_set", metavar="DATA_SET", choices=sorted(DATA_SETS), help=" or ".join(DATA_SETS))
    add("annotations", metavar="ANNOTATIONS", type=cli.path, help="the folder of the official annotations")
    add("video_dir", metavar="VIDEO_DIR", type=cli.path, help="the folder of the videos")
    add("out_dir", metavar="OUT_DIR", type=cli.path, help="the folder for the lists and label.txt")
    add("--format", choices=("mp4", "frames"), help="video files or folders of images (something_v1, jester: frames)")
    add("--frame_template", metavar="NAME", help="the images' names (something_v1, jester: %%05d.jpg; img_%%05d.jpg)")
    add("--first_frame", type=cli.count, default=1, metavar="N", help="the number of a folder's first image (1)")
    add(
        "--label_order",
        choices=("sorted", "file"),
        help="of something_v1 and jester, whose labels have no official numbers: sorted, as TSM's authors have them, or"
        " file, as MMAction2 has them (sorted)",
    )
    add("--missing", type=cli.optional_path, metavar="FILE", help="write `LIST NAME` lines of the missing videos here")
    return parser.parse_args()


def main() -> None:
    flags = parse_flags()
    set_up_logging()
    data_set = DATA_SETS[flags.data_set]
    if flags.label_order and not data_set.orders:
        raise InputError(f"--label_order is not for {flags.data_set}: the order of its labels is fixed")
    template = None
    if (flags.format or ("frames" if data_set.template else "mp4")) == "frames":
        template = flags.frame_template or data_set.template or ModelSection.frame_template
    order = (flags.label_order or "sorted",) if data_set.orders else ()
    official = data_set.read(Path(flags.annotations), *order)
    places = Places(flags.video_dir, template, flags.first_frame)
    found = find_all(official, places)

    make_folder(flags.out_dir)
    labels = os.path.join(flags.out_dir, "label.txt")
    prefix = path_prefix(places.folder, labels)
    write_class_names(labels, official.names)
    for name, videos in found.items():
        path = os.path.join(flags.out_dir, f"{name}.list")
        lines = write_list(path, videos, places.folder, prefix)
        report(name, videos, official.names)
        print(f"{path}: {lines} lines" if lines else f"{path} is not written: none of its videos is there")
    if flags.missing:
        with atomic_file(flags.missing) as file:
            for name, videos in found.items():
                file.writelines(f"{name} {video.entry.names[0]}\n" for video in videos if not video.usable)
    print("\n" + "\n".join(label_lines(data_set, official.names, labels)))
    images = f"frames, MODEL.frame_template = {template}, MODEL.first_frame = {flags.first_frame}"
    print(f"MODEL.format = {images if template else 'mp4'}")


if __name__ == "__main__":
    cli.run(main)
