"""The label file of a Kinetics csv: its class names, sorted, `NAME INDEX` a line.

python generate_label.py kinetics-400_train.csv kinetics400_label.txt
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import sys

from video_zoo.datareader.labels import write_class_names
from video_zoo.dataset.kinetics.kinetics_csv import csv_rows
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError

KINETICS_CLASSES = (400, 600, 700)


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("csv", help="a csv of Kinetics that has labels: train or validation")
    parser.add_argument("label_file", help="the file to write")
    flags = parser.parse_args()

    labels = [row["label"] for _, row in csv_rows(flags.csv, ("label",)) if row["label"]]
    if not labels:
        raise InputError(f"{flags.csv}: no row has a label; take the train csv, the test csv has none")
    names = sorted(set(labels))
    write_class_names(flags.label_file, names)
    print(f"{flags.label_file}: {len(names)} classes, from {len(labels)} rows of {flags.csv}")
    if len(names) not in KINETICS_CLASSES:
        print(
            f"warning: {len(names)} classes, but Kinetics has 400, 600 or 700; "
            f"for your own data set num_classes = {len(names)} in the config",
            file=sys.stderr,
        )


if __name__ == "__main__":
    cli.run(main)
