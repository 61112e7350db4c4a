"""dataset/make_list.py on made-up samples of each data set's official annotations, and the configs of the data sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from video_zoo.configs.schema import Config
from video_zoo.datareader.labels import mirrored_labels, read_class_names
from video_zoo.datareader.video_list import read_mode_list
from video_zoo.dataset import make_list
from video_zoo.dataset.folders import Places
from video_zoo.dataset.kinetics import generate_label
from video_zoo.dataset.kinetics import make_list as kinetics_list
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
LABELS = ROOT / "dataset/labels"
CLASSES = {"ucf101": 101, "hmdb51": 51, "something": 174, "jester": 27, "diving48": 48}
LEFT, RIGHT = "Pulling something from left to right", "Pulling something from right to left"
OUT_OF = "Plugging something into something but pulling it right out as you remove your hand"


def put(folder: Path, files: dict[str, object]) -> Path:
    """Writes files: text, JSON of lists and dicts, and so many images for a number, in a folder of that name."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            path.mkdir(exist_ok=True)
            for number in range(1, content + 1):
                (path / f"{number:05}.jpg").touch()
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the tool in tmp_path on ann/ and videos/; returns the lists in out/, line by line, and what was printed."""
    monkeypatch.chdir(tmp_path)

    def run(data_set: str, *flags: str) -> tuple[dict[str, list[str]], str]:
        monkeypatch.setattr(sys, "argv", ["make_list.py", data_set, "ann", "videos", "out", *flags])
        monkeypatch.setattr(make_list, "set_up_logging", lambda: None)
        make_list.main()
        texts = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.list")}
        lists = {name: text.replace(f"{tmp_path}/", "").splitlines() for name, text in texts.items()}
        return lists, capsys.readouterr().out

    return run


def names(tmp_path: Path) -> list[str]:
    return read_class_names(tmp_path / "out/label.txt")


@pytest.fixture
def ucf101(tmp_path) -> Path:
    put(
        tmp_path / "ann",
        {
            "classInd.txt": "1 Biking\r\n2 HandstandPushups\r\n3 YoYo\r\n",
            "trainlist01.txt": "Biking/v_Biking_g08_c01.avi 1\nHandstandPushups/v_HandStandPushups_g08_c01.avi 2\n"
            "HandStandPushups/v_HandStandPushups_g08_c02.avi 2\nYoYo/v_YoYo_g08_c01.avi 3\nYoYo/v_YoYo_g09_c01.avi 3\n",
            "testlist01.txt": "HandstandPushups/v_HandStandPushups_g01_c01.avi\nYoYo/v_YoYo_g01_c01.avi\n",
            "testlist03.txt": "YoYo/v_YoYo_g08_c01.avi\n",
        },
    )
    videos = ["Biking/v_Biking_g08_c01.avi", "HandstandPushups/v_HandStandPushups_g08_c01.avi"]
    videos += ["HandstandPushups/v_HandstandPushups_g08_c02.mp4", "HandstandPushups/v_HandstandPushups_g01_c01.avi"]
    put(tmp_path / "videos", dict.fromkeys([*videos, "YoYo/v_YoYo_g01_c01.AVI", "YoYo/v_YoYo_g08_c01.avi"], ""))
    return tmp_path


def test_ucf101(ucf101, run):
    """Classes count from 1 in the files, test lists have none, and the S of HandStandPushups is small or not."""
    lists, said = run("ucf101", "--missing", "missing.txt")
    assert names(ucf101) == ["Biking", "HandstandPushups", "YoYo"]
    assert lists == {
        "train1": [
            "videos/Biking/v_Biking_g08_c01.avi 0",
            "videos/HandstandPushups/v_HandStandPushups_g08_c01.avi 1",
            "videos/HandstandPushups/v_HandstandPushups_g08_c02.mp4 1",
            "videos/YoYo/v_YoYo_g08_c01.avi 2",
        ],
        "test1": ["videos/HandstandPushups/v_HandstandPushups_g01_c01.avi 1", "videos/YoYo/v_YoYo_g01_c01.AVI 2"],
        "test3": ["videos/YoYo/v_YoYo_g08_c01.avi 2"],
    }
    lines = [line.split() for line in said.splitlines()]
    assert ["YoYo", "2", "1", "1"] in lines and ["total", "5", "4", "1"] in lines
    assert "classes complete: 2 of 3" in said and "MODEL.num_classes = 3" in said
    assert (ucf101 / "missing.txt").read_text() == "train1 v_YoYo_g09_c01\n"


def test_a_link_to_nowhere_is_no_video(ucf101, run):
    video = ucf101 / "videos/Biking/v_Biking_g08_c01.avi"
    video.unlink()
    video.symlink_to("nowhere.avi")
    lists, said = run("ucf101")
    assert len(lists["train1"]) == 3 and ["Biking", "1", "0", "1"] in [line.split() for line in said.splitlines()]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classInd.txt", "0 Biking\n1 YoYo\n", "classInd.txt: its 2 classes are not numbered from 1 to 2"),
        ("classInd.txt", "1 Biking\n1 YoYo\n", "classInd.txt:2: '1 YoYo' is no class that is new"),
        ("classInd.txt", "", "classInd.txt is empty"),
        (
            "trainlist01.txt",
            "YoYo/a.avi 3\nBiking/b.avi 2\n",
            "trainlist01.txt:2: the number 2 is not that of Biking, 1",
        ),
        ("trainlist01.txt", "Hiking/b.avi 2\n", "trainlist01.txt:1: the folder Hiking is no class of classInd.txt"),
        ("trainlist01.txt", "v_YoYo_g01_c01 3\n", "trainlist01.txt:1: 'v_YoYo_g01_c01 3' is no video, as in"),
        ("trainlist01.txt", "YoYo/a.avi 3\nBiking/a.avi 1\n", "trainlist01.txt:2: a has another class in .*01.txt:1"),
        ("trainlist01.txt", "YoYo/v_None.avi 3\n", None),
    ],
)
def test_wrong_files_are_named_and_leave_the_earlier_lists(ucf101, run, file, text, message):
    before, _ = run("ucf101")
    (ucf101 / "ann" / file).write_text(text)
    if message:
        with pytest.raises(InputError, match=message):
            run("ucf101")
    else:
        lists, said = run("ucf101")
        assert lists == before and "train1.list is not written: none of its videos is there" in said
    assert len(names(ucf101)) == 3
    assert {path.name for path in (ucf101 / "out").iterdir()} == {"label.txt", *(f"{name}.list" for name in before)}


def test_missing_files_and_folders_are_named_with_the_remedy(ucf101, run):
    for data_set, message in (
        ("hmdb51", "ann has no brush_hair_test_split1.txt; unpack test_train_splits.rar"),
        (
            "something_v1",
            "ann has no something-something-v1-labels.csv nor labels.csv; its labels come with the videos",
        ),
        ("something_v2", "ann has no something-something-v2-labels.json nor labels.json; "),
        ("jester", "ann has no jester-v1-labels.csv nor labels.csv; "),
        ("diving48", "ann has no Diving48_vocab.json; the data set's page has"),
    ):
        with pytest.raises(InputError, match=message):
            run(data_set)
    with pytest.raises(InputError, match="--label_order is not for ucf101"):
        run("ucf101", "--label_order=file")
    with pytest.raises(
        InputError, match=r"videos has none of the videos of train1, test1, test3; looked for v_Biking_g08_c01"
    ):
        run("ucf101", "--format=frames")
    with pytest.raises(InputError, match="'x.jpg' need one %d"):
        run("ucf101", "--format=frames", "--frame_template=x.jpg")
    for file in (ucf101 / "ann").glob("*list0?.txt"):
        file.unlink()
    with pytest.raises(InputError, match="ann has no trainlist01.txt nor testlist01.txt; unpack UCF101"):
        run("ucf101")
    (ucf101 / "ann").rename(ucf101 / "other")
    with pytest.raises(InputError, match="ann is no folder with classInd.txt"):
        run("ucf101")
    assert not (ucf101 / "out").exists()


def test_hmdb51(tmp_path, run):
    """0 is in neither list, lines end in a space, names have any characters, and climb is no part of climb_stairs.

    Of copies of a video, that in the folder of its class is taken.
    """
    odd = "#437_How_To_(Ride)_A_Bike_[&]_climb_f_nm_np1_ba_med_0"
    splits = {}
    for split in (1, 2, 3):
        splits[f"climb_test_split{split}.txt"] = f"{odd}.avi {split % 3} \nb_climb_0.avi 2 \n"
        splits[f"climb_stairs_test_split{split}.txt"] = "a_climb_stairs_0.avi 1 \nb_climb_stairs_0.avi 0 \n"
    put(tmp_path / "ann", {**splits, "README.txt": "not a list"})
    videos = [f"climb/{odd}.avi", "climb/b_climb_0.avi", "climb_stairs/a_climb_stairs_0.avi"]
    others = ["climb_stairs/b_climb_stairs_0.avi", "a copy/b_climb_0.avi", "walk/a_climb_stairs_0.mp4"]
    put(tmp_path / "videos", dict.fromkeys([*videos, *others], ""))
    lists, said = run("hmdb51")
    assert names(tmp_path) == ["climb", "climb_stairs"]
    stairs, second = "videos/climb_stairs/a_climb_stairs_0.avi 1", "videos/climb/b_climb_0.avi 0"
    assert lists["train1"] == [f"videos/climb/{odd}.avi 0", stairs]
    assert lists["test1"] == [second]
    assert lists["test2"] == [f"videos/climb/{odd}.avi 0", second] and lists["train2"] == [stairs]
    assert lists["test3"] == [second] and lists["train3"] == [stairs]
    assert "nothing is missing" in said

    (tmp_path / "ann/climb_test_split2.txt").write_text("b_climb_0.avi 3 \n")
    with pytest.raises(InputError, match="climb_test_split2.txt:1: 'b_climb_0.avi 3' is not a video and 0, 1 or 2"):
        run("hmdb51")
    (tmp_path / "ann/climb_test_split2.txt").unlink()
    with pytest.raises(InputError, match="ann has no climb_test_split2.txt; the others of split 2 are there"):
        run("hmdb51")
    (tmp_path / "ann").rename(tmp_path / "old")
    put(tmp_path / "ann", {"climb_test_split1.txt": "b_climb_0.avi 0 \n"})
    with pytest.raises(InputError, match="ann: none of its videos has a 1, for training, or a 2, for testing"):
        run("hmdb51")
    (tmp_path / "ann" / os.fsdecode(b"\xff_test_split1.txt")).write_text("b_climb_0.avi 1 \n")
    with pytest.raises(InputError, match=r"ann: the class '\\udcff' is not one line of text"):
        run("hmdb51")


@pytest.fixture
def something_v1(tmp_path) -> Path:
    prefix = "something-something-v1"
    put(
        tmp_path / "ann",
        {
            f"{prefix}-labels.csv": f"{RIGHT}\n{OUT_OF}\n{LEFT}\nMoving something, something and something up\n",
            f"{prefix}-train.csv": f"12;{LEFT}\n7;Moving something, something and something up\n3;{OUT_OF}\n",
            f"{prefix}-validation.csv": f"100;{RIGHT}\n",
            f"{prefix}-test.csv": "55\n",
        },
    )
    put(tmp_path / "videos", {"12": 3, "7": 12, "100": 5, "55": 2, "sub/3": 4})
    return tmp_path


def test_something_v1(something_v1, run):
    """Labels without numbers are sorted, or as the file has them; images are counted."""
    lists, said = run("something_v1")
    assert names(something_v1) == ["Moving something, something and something up", OUT_OF, LEFT, RIGHT]
    expected = {"train": ["videos/12 3 2", "videos/7 12 0", "videos/sub/3 4 1"], "val": ["videos/100 5 3"]}
    assert lists == {**expected, "infer": ["videos/55 2 -1"]}
    assert "TRAIN.flip_labels = [[2, 3]]," in said and "MODEL.frame_template = %05d.jpg" in said

    for mode, name in (("train", "train"), ("test", "val"), ("infer", "infer")):
        sections = {"MODEL": {"format": "frames", "num_classes": 4}, mode.upper(): {"filelist": f"out/{name}.list"}}
        assert len(read_mode_list(config.check({"": sections}, Config), mode)) == len(lists[name])

    lists, said = run("something_v1", "--label_order=file")
    assert names(something_v1)[:3] == [RIGHT, OUT_OF, LEFT]
    assert lists["train"] == ["videos/12 3 2", "videos/7 12 3", "videos/sub/3 4 1"]
    assert "TRAIN.flip_labels = [[2, 0]]," in said


def test_folders_with_gaps_are_left_out_and_named(something_v1, run):
    (something_v1 / "videos/12/00002.jpg").unlink()
    (something_v1 / "videos/7/00001.jpg").unlink()
    (something_v1 / "videos/100/notes.jpg").touch()
    (something_v1 / "videos/100/000006.jpg").touch()  # of another template
    lists, said = run("something_v1")
    assert lists["train"] == ["videos/sub/3 4 1"] and lists["val"] == ["videos/100 5 3"]
    assert "left out: videos/12: no 00002.jpg, and the images go on to 00003.jpg" in said
    assert "left out: videos/7: no 00001.jpg, and the images go on to 00012.jpg" in said
    lists, _ = run("something_v1", "--first_frame=2")
    assert lists["train"] == ["videos/7 11 0"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train.csv", "12;Moving somethin\n", "-train.csv:1: class 'Moving somethin' is not in .*-labels.csv; did you"),
        ("train.csv", "12\n", "-train.csv:1: '12' is not `ID;CLASS`"),
        ("labels.csv", "a\nb\na\n", "-labels.csv has the class 'a' twice"),
    ],
)
def test_wrong_lines_of_something_v1(something_v1, run, file, text, message):
    if file == "train.csv":
        put(something_v1 / "ann", {"something-something-v1-labels.csv": "Moving something\n"})
    put(something_v1 / "ann", {f"something-something-v1-{file}": text})
    with pytest.raises(InputError, match=message):
        run("something_v1")


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_something_v2(tmp_path, run, prefix):
    """The class is the template without its brackets, whatever `label` says, and numbers are the file's."""
    train = {"id": "78687", "label": "pulling a cup from right to left", "placeholders": ["a cup"]}
    put(
        tmp_path / "ann",
        {
            f"{prefix}labels.json": {RIGHT: "1", LEFT: "0", "Moving [up]": "2", OUT_OF: "3"},
            f"{prefix}train.json": [{**train, "template": "Pulling [something] from left to right"}],
            f"{prefix}validation.json": [{"id": 5, "template": RIGHT.replace("something", "[something]")}],
            f"{prefix}test.json": [{"id": "9"}],
        },
    )
    put(tmp_path / "videos", {"78687.webm": "", "5.mp4": "", "9.webm": ""})
    lists, said = run("something_v2")
    assert names(tmp_path) == [LEFT, RIGHT, "Moving [up]", OUT_OF]
    assert lists == {"train": ["videos/78687.webm 0"], "val": ["videos/5.mp4 1"], "infer": ["videos/9.webm -1"]}
    assert "TRAIN.flip_labels = [[0, 1]]," in said and "frame_template" not in said

    for file, content, message in (
        ("train.json", [train], "video 1, id 78687, has no template, which names its class"),
        ("train.json", [{**train, "template": "Pulling [x]"}], "video 1: class 'Pulling x' is not in .*labels.json"),
        ("train.json", ["78687"], "train.json, video 1 has no id"),
        ("train.json", {"id": 1}, "train.json holds no list"),
        ("train.json", "[" * 50, "train.json is no JSON"),
        ("labels.json", {LEFT: "1"}, "labels.json: its 1 classes are not numbered from 0 to 0"),
        ("labels.json", {LEFT: [1]}, "labels.json: its 1 classes are not numbered"),
        ("labels.json", {LEFT: "0", "\ud800": "1"}, r"labels.json: the class '\\ud800' is not one line of text"),
        ("labels.json", {LEFT: "0", "two\nlines 0": "1"}, r"the class 'two\\nlines 0' is not one line of text"),
        ("test.json", [{"id": "9"}, {"id": "\ud800"}], r"test.json, video 2: the name '\\ud800' is not one line"),
        ("test.json", [{"id": "9\ntrain 8"}], r"test.json, video 1: the name '9\\ntrain 8' is not one line of text"),
    ):
        before = (tmp_path / "ann" / f"{prefix}{file}").read_text()
        put(tmp_path / "ann", {f"{prefix}{file}": content})
        with pytest.raises(InputError, match=message):
            run("something_v2")
        put(tmp_path / "ann", {f"{prefix}{file}": before})


def test_jester_of_images_and_of_videos(tmp_path, run):
    gestures = ["Swiping Right", "Turning Hand Counterclockwise", "Turning Hand Clockwise", "Swiping Left", "Thumb Up"]
    put(
        tmp_path / "ann",
        {"jester-v1-labels.csv": "\n".join(gestures), "jester-v1-train.csv": "1;Thumb Up\n2;Swiping Left\n"},
    )
    put(tmp_path / "videos", {"1": 37, "2": 35})
    lists, said = run("jester")
    assert lists == {"train": ["videos/1 37 2", "videos/2 35 0"]}
    assert "TRAIN.flip_labels = [[0, 1], [3, 4]]," in said
    put(tmp_path / "videos", {"1.webm": "", "2.mp4": ""})
    lists, said = run("jester", "--format=mp4", "--label_order=file")
    assert lists == {"train": ["videos/1.webm 4", "videos/2.mp4 3"]}
    assert "TRAIN.flip_labels = [[3, 0], [2, 1]]," in said


def test_diving48(tmp_path, run):
    dive = {"vid_name": "-mmq0PT-u8k_00155", "label": 1, "start_frame": 0, "end_frame": 94}
    put(
        tmp_path / "ann",
        {
            "Diving48_vocab.json": [["Back", "15som", "05Twis", "FREE"], ["Back", "Dive", "NoTwis", "TUCK"]],
            "Diving48_V2_train.json": [dive],
            "Diving48_V2_test.json": [{**dive, "vid_name": "-MMQ0PT-u8k_00155", "label": 0}],
            "Diving48_train.json": [{**dive, "label": 0}],
        },
    )
    put(tmp_path / "videos", {"rgb/-mmq0PT-u8k_00155.mp4": "", "rgb/-MMQ0PT-u8k_00155.mp4": ""})
    lists, _ = run("diving48")
    assert names(tmp_path) == ["Back+15som+05Twis+FREE", "Back+Dive+NoTwis+TUCK"]
    first, second = "videos/rgb/-mmq0PT-u8k_00155.mp4", "videos/rgb/-MMQ0PT-u8k_00155.mp4"
    assert lists == {"train": [f"{first} 1"], "test": [f"{second} 0"], "v1_train": [f"{first} 0"]}
    for file, content, message in (
        ("V2_train", [{**dive, "label": 2}], "_00155: its label is none of the 2 classes of Diving48_vocab.json"),
        ("V2_train", [{**dive, "label": True}], "_00155: its label is none"),
        ("V2_train", [{**dive, "start_frame": 4}], "_00155: start_frame is not 0"),
        ("V2_train", [{"label": 1}], "video 1 has no vid_name"),
        ("vocab", [["Back", 15]], "Diving48_vocab.json: class 0 is no list of texts"),
    ):
        put(tmp_path / "ann", {f"Diving48_{file}.json": content})
        with pytest.raises(InputError, match=message):
            run("diving48")


@pytest.mark.parametrize("count", [600, 700])
def test_kinetics_600_and_700(tmp_path, monkeypatch, capsys, count):
    """Their csv has five columns, and names with commas and quotes; the labels are the sorted names."""
    monkeypatch.chdir(tmp_path)
    classes = [f"class {number:03}" for number in range(count - 1)] + ["tying knot (not on a tie), 'well'"]
    rows = [f'"{name}",{number:011},1,11,train' for number, name in enumerate(reversed(classes))]
    put(tmp_path, {"train.csv": "\n".join(["label,youtube_id,time_start,time_end,split", *rows])})
    put(tmp_path / "videos", {f"train/class_000/{count - 1:011}_000001_000011.mp4": "", "00000000000.mp4": ""})
    for tool, *arguments in (
        (generate_label, "train.csv", "kinetics/label.txt"),
        (kinetics_list, "train.csv", "videos", "kinetics/train.list", "--labels", "kinetics/label.txt"),
    ):
        monkeypatch.setattr(sys, "argv", ["tool", *arguments])
        monkeypatch.setattr(kinetics_list, "set_up_logging", lambda: None)
        tool.main()
    assert capsys.readouterr().err == ""
    assert read_class_names("kinetics/label.txt") == classes
    videos = tmp_path / "videos"
    assert (tmp_path / "kinetics/train.list").read_text().splitlines() == [
        f"{videos}/00000000000.mp4 {count - 1}",
        f"{videos}/train/class_000/{count - 1:011}_000001_000011.mp4 0",
    ]


def test_names_that_fit_no_list_are_left_out_and_named(tmp_path, capsys):
    put(tmp_path, {"a.mp4": "", "two\nlines/b.mp4": "", "c\rd.mp4": ""})
    (tmp_path / os.fsdecode(b"\xff.mp4")).touch()
    places = Places(str(tmp_path))
    assert len(places) == 1 and places.find(["a"], "") is not None
    assert capsys.readouterr().err.count("its name fits no list") == 3
    with pytest.raises(InputError, match="does not fit a list"):
        Places(str(tmp_path / "two\nlines"))


def test_the_command_line(ucf101):
    tool = [sys.executable, str(ROOT / "dataset/make_list.py")]
    done = subprocess.run(
        [*tool, "hmdb51", "ann", "videos", "out"], check=False, cwd=ucf101, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stderr.startswith("error: ann has no brush") and done.stderr.count("\n") == 1


# The label files and the configs


@pytest.mark.parametrize("name", CLASSES)
def test_label_files(name):
    classes = read_class_names(LABELS / f"{name}.txt")
    assert len(classes) == CLASSES[name]
    assert classes == sorted(classes, key=str.casefold if name == "ucf101" else str)


@pytest.mark.parametrize(
    ("data_set", "pairs"),
    [("something_v2", [[86, 87], [93, 94], [166, 167]]), ("jester", [[16, 17], [11, 12], [21, 22]])],
)
def test_pairs_of_the_label_files(data_set, pairs):
    (line,) = (
        line
        for line in make_list.label_lines(
            make_list.DATA_SETS[data_set], read_class_names(LABELS / make_list.DATA_SETS[data_set].labels), "x"
        )
        if "flip" in line
    )
    assert f"TRAIN.flip_labels = {pairs}," in line


CONFIGS = [
    ("tsm_kinetics600", "kinetics600", 600),
    ("tsm_kinetics700", "kinetics700", 700),
    ("tsm_something_v1", "something_v1", 174),
    ("tsm_something_v2", "something_v2", 174),
    ("tsm_jester", "jester", 27),
    ("tsm_online_mobilenetv2_jester", "jester", 27),
    ("tsm_diving48", "diving48", 48),
    ("tsm_ucf101", "ucf101", 101),
    ("tsn_ucf101", "ucf101", 101),
    ("tsm_hmdb51", "hmdb51", 51),
]


@pytest.mark.parametrize(("name", "folder", "num_classes"), CONFIGS)
def test_configs(name, folder, num_classes):
    """They load, and say what make_list.py says of the data set's lists and classes."""
    path = ROOT / f"configs/{name}.yaml"
    settings = config.load(str(path), Config, models=cli.model_sections(MODELS))
    model = settings.MODEL
    assert model.num_classes == num_classes and model.name == name[:3].upper()
    for mode in ("train", "valid", "test", "infer"):
        assert Path(settings.reader(mode).filelist).parts[:2] == ("dataset", folder)
    mirrored = mirrored_labels(model, settings.TRAIN)
    if data_set := make_list.DATA_SETS.get(folder):
        assert model.class_names == f"dataset/labels/{data_set.labels}"
        assert model.format == ("frames" if data_set.template else "mp4")
        assert model.frame_template == (data_set.template or "img_%05d.jpg")
        classes = read_class_names(ROOT / model.class_names)
        assert {classes[label]: classes[other] for label, other in mirrored.items()} == {
            **dict(data_set.mirrored),
            **{right: left for left, right in data_set.mirrored},
        }
        assert settings.TRAIN.flip
    for word in ("Paper:", "Lists:", "Command:", "Score:", "Cost:"):
        assert f"# {word}" in path.read_text(encoding="utf-8")
