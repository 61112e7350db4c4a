"""What inference.yaml says, and what is wrong with one."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from video_zoo.configs.schema import Config, InferSection, ModelSection
from video_zoo.engine import deployment, programs
from video_zoo.engine.deployment import CHECKED_ON, FILE, MADE_FROM, Deployment, is_deployment
from video_zoo.engine.export import check_target, is_finished, made_from
from video_zoo.engine.programs import PROGRAMS
from video_zoo.engine.settings import Trained
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import describe_processor

NAMES = ["air drumming", "Dreirad fahren", "打太极", 'a "quoted", name']


@pytest.fixture
def written(tmp_path) -> Deployment:
    programs = {"openvino": {"fp32": "openvino_fp32.xml", "int8": "openvino_int8.xml"}, "onnx": {"fp32": "model.onnx"}}
    for files in programs.values():
        for file in files.values():
            (tmp_path / file).write_text("a program")
    (tmp_path / "openvino_fp32.bin").write_text("its weights")
    made = Deployment(tmp_path, "TSM", NAMES, (8, 3, 224, 224), programs, {"scaling": {"shorter_side": 256}})
    made.write()
    return made


def test_what_is_written_is_read(written):
    read = Deployment.read(written.folder)
    assert (read.model, read.names, read.shape, read.programs) == ("TSM", NAMES, (8, 3, 224, 224), written.programs)
    assert is_deployment(written.folder) and not is_deployment(written.folder / "..") and not is_deployment(None)


def test_the_file_tells_a_caller_all(written):
    said = yaml.safe_load((written.folder / FILE).read_text(encoding="utf-8"))
    assert said["input"]["shape"] == [-1, 8, 3, 224, 224] and said["input"]["dtype"] == "uint8"
    assert said["output"]["shape"] == [-1, 4] and said["labels"] == NAMES and said["scaling"]["shorter_side"] == 256


def test_what_is_finished_and_why_it_is_not(written, log):
    made_from, wanted = {"weights": "a", "versions": "b"}, {"onnx": ["fp32"]}
    for name in (deployment.CONFIG, deployment.LABELS):
        (written.folder / name).touch()

    def why(wanted: dict = wanted, **said: str) -> str:
        log.clear()
        finished = is_finished(written.folder, wanted, {**made_from, **said})
        assert finished == ("nothing is left to do" in log.text)
        return log.text

    assert "does not say what it was made from" in why()
    replace(written, facts={MADE_FROM: {**made_from, "more": "c"}, CHECKED_ON: describe_processor()}).write()
    assert "has openvino fp32, openvino int8, onnx fp32: nothing" in why()
    assert "it was made with other weights, videos" in why(weights="z", videos="d")
    assert (
        "it lacks onnx fp16" in why({"onnx": ["fp32", "fp16"]})
        and "will be gone: openvino fp32, openvino int8" in log.text
    )
    (written.folder / "openvino_fp32.bin").write_text("other weights")
    assert "openvino_fp32.bin is damaged" in why()
    (written.folder / "openvino_fp32.bin").write_text("its weights")
    assert "nothing is left to do" in why()
    (written.folder / deployment.CONFIG).write_text("INFER: {}")
    assert "config.yaml is damaged" in why()
    (written.folder / deployment.CONFIG).write_text("")
    (written.folder / deployment.LABELS).unlink()
    assert "label.txt: No such file" in why()
    assert not is_finished(written.folder / "nothing", wanted, made_from)


def test_what_a_folder_is_made_from(tmp_path):
    """Videos of another folder may have the same names; test.py and --online read the config of the folder, too."""
    (tmp_path / "a.mp4").write_bytes(b"a video")
    reader = SimpleNamespace(fingerprint=lambda: "of names", files=lambda: {"a.mp4": tmp_path / "a.mp4"})
    store, config = SimpleNamespace(sha256=lambda: "of weights"), Config()

    def said(**sections: object) -> dict[str, str]:
        trained = Trained(None, replace(config, **sections), NAMES, None)
        return made_from(trained, store, ["openvino"], {"to compare": reader})

    before = said()
    assert f", openvino {importlib.metadata.version('openvino')}" in before["versions"]
    assert said(INFER=replace(config.INFER, batch_size=7)) == before
    for changed in (
        {"INFER": replace(config.INFER, short_size=99)},
        {"TEST": replace(config.TEST, short_size=99)},
        {"ONLINE": replace(config.ONLINE, fps=3)},
    ):
        assert {key for key, value in said(**changed).items() if value != before[key]} == {"settings"}
    (tmp_path / "a.mp4").write_bytes(b"another video")
    assert {key for key, value in said().items() if value != before[key]} == {"videos to compare"}


def test_a_damaged_folder_is_not_replaced_unseen(written):
    (written.folder / FILE).write_text("model: TSM")
    with pytest.raises(InputError, match="export.py makes the folder anew, once .* is removed"):
        check_target(written.folder)


@pytest.mark.parametrize(
    ("kind", "precision", "file"),
    [
        ("openvino", "fp32", "openvino_fp32.xml"),
        ("openvino", "bf16", "openvino_fp32.xml"),
        ("openvino", "int8", "openvino_int8.xml"),
        ("onnx", "fp32", "model.onnx"),
        ("onnx", "int8", None),
        ("onnx", "tf32", "model.onnx"),
        ("onnx", "fp16", None),
        ("paddle", "fp32", None),
    ],
)
def test_programs_by_kind_and_precision(written, kind, precision, file):
    assert written.program(kind, precision) == (file and written.folder / file)


def test_another_processor_is_said(written, monkeypatch):
    def read_on(**instructions: bool) -> str | None:
        monkeypatch.setattr(
            deployment, "describe_processor", lambda: {"processor": "Here", "instructions": instructions}
        )
        return Deployment.read(written.folder).other_processor()

    assert read_on(avx2=True) is None  # a folder of version 0.1 does not say
    checked = {"processor": "There", "instructions": {"avx2": True, "avx512_vnni": True, "amx_int8": False}}
    replace(written, facts={CHECKED_ON: checked}).write()
    assert read_on(avx2=True, avx512_vnni=True, amx_int8=False) is None  # whatever its name
    assert read_on(avx2=True, avx512_vnni=False, amx_int8=False) == (
        f"{written.folder} was checked on another processor (There, avx2 avx512_vnni) than this one (Here, avx2):"
        " probabilities may differ a little; export.py on this one checks it here"
    )
    assert "(Here, none of the instructions that matter)" in read_on(avx2=False, amx_int8=False)
    # What only one of the two versions asked for says nothing, nor does a system that does not tell.
    assert read_on(avx2=True, avx512_vnni=True, sme=True) is None and read_on() is None


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("labels"),
        lambda said: said.update(version=2),
        lambda said: said["input"].update(shape=[-1, 8, 3]),
        lambda said: said["input"].update(shape=[-1, 8, 9, 224, 224]),  # of seglen 3, before clips had a frame a place
        lambda said: said["input"].update(shape="none"),
        lambda said: said.update(labels=[1, 2]),
        lambda said: said.update(programs={"tflite": {"fp32": "x"}}),
        lambda said: said.update(programs=["onnx"]),
        lambda said: said["checksums"].update({"../else": "00"}),
        lambda said: said["checksums"].pop("model.onnx"),
        lambda said: said["checksums"].update({"model.onnx": 3}),
        lambda said: said.update(checksums=["model.onnx"]),
        lambda said: said.update(version=True),
        lambda said: said.update(model=["TSM"]),
        lambda said: said["input"].update(shape=[-1, float("inf"), 3, 224, 224]),
        lambda said: said["input"].update(shape=[-1, 10**400, 3, 224, 224]),
        lambda said: said["input"].update(shape=[-1, True, 3, 224, 224]),
        lambda said: said["input"].update(shape=[-1, -8, 3, 224, 224]),
        lambda said: said.update(input=[]),
        lambda said: said.pop("checksums"),
        lambda said: said.update(checked_on="here"),
        lambda said: said.update(checked_on={"instructions": ["avx2"]}),
        lambda said: said.update(checked_on={"instructions": {"avx2": "yes"}}),
        lambda said: said.update(checked_on={"processor": ["a", "b"]}),
        lambda said: said.update(parity=["openvino bf16"]),
        lambda said: said.clear(),
    ],
)
def test_a_damaged_file_is_named(written, change):
    path = written.folder / FILE
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(said)
    path.write_text(yaml.safe_dump(said))
    with pytest.raises(InputError, match="inference.yaml is damaged, or of another version; export.py makes"):
        Deployment.read(written.folder)


@pytest.mark.parametrize(
    "content",
    [
        b"a: [",
        b"\xff\xfe",
        b"!!python/object/apply:os.system ['true']",
        b"[" * 1000,
        b"a: !!int ''",
        b"a: !!timestamp x",
    ],
)
def test_what_is_no_yaml_is_named(written, content):
    (written.folder / FILE).write_bytes(content)
    with pytest.raises(InputError, match="inference.yaml is damaged"):
        Deployment.read(written.folder)


def test_a_config_that_names_a_file_of_class_names_is_refused(written):
    """Its lines would be shown as names of classes."""
    settings = Config(MODEL=ModelSection(num_classes=4, seg_num=8), INFER=InferSection(target_size=224))
    written.check_settings(settings, replace(settings, MODEL=replace(settings.MODEL, class_names="own.txt")))
    evil = replace(settings, MODEL=replace(settings.MODEL, class_names="/etc/passwd"))
    with pytest.raises(
        InputError, match="is refused: its config.yaml names a file, '/etc/passwd', as MODEL.class_names"
    ):
        written.check_settings(evil, evil)


def test_aliases_that_multiply_are_named(written):
    """In a file that is good apart from them. They would take no memory before they are shown."""
    path = written.folder / FILE
    lines = ["z0: &z0 [1]", *(f"z{n}: &z{n} [{', '.join([f'*z{n - 1}'] * 9)}]" for n in range(1, 9))]
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match="inference.yaml is damaged"):
        Deployment.read(written.folder)


def test_a_missing_program_is_named(written):
    (written.folder / "model.onnx").unlink()
    with pytest.raises(InputError, match="cannot read .*model.onnx: No such file"):
        Deployment.read(written.folder).check(written.folder / "model.onnx")


@pytest.mark.parametrize("file", ["openvino_fp32.xml", "openvino_fp32.bin"])
def test_a_damaged_program_is_named(written, file):
    read = Deployment.read(written.folder)
    read.check(written.folder / "openvino_fp32.xml")
    (written.folder / file).write_text("a progran")
    with pytest.raises(InputError, match=f"{file} is damaged: copy the folder again"):
        read.check(written.folder / "openvino_fp32.xml")
    read.check(written.folder / "openvino_int8.xml")  # another one's files do not matter


def test_a_program_outside_of_the_folder_is_not_taken(written):
    path = written.folder / FILE
    path.write_text(path.read_text(encoding="utf-8").replace("model.onnx", "../model.onnx"))
    (written.folder.parent / "model.onnx").write_text("another's")
    with pytest.raises(InputError, match="damaged"):
        Deployment.read(written.folder)


@pytest.mark.parametrize(("paddle_2", "release"), [(True, "1.3.1"), (False, "2.1.0")])
def test_the_converter_fits_paddle(monkeypatch, paddle_2, release):
    monkeypatch.setattr(programs, "is_paddle_2", lambda: paddle_2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert PROGRAMS["onnx"].missing() == [f"paddle2onnx=={release}", "packaging", "onnx"]
    assert PROGRAMS["openvino"].missing(int8=True) == ["openvino", "nncf"] and PROGRAMS["paddle"].missing() == []


@pytest.mark.contract
def test_the_paddle_that_is_installed():
    import paddle

    assert programs.is_paddle_2() == paddle.__version__.startswith("2.")


def test_the_folder_is_a_path(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        Deployment.read(Path(tmp_path))


def test_one_that_stepped_aside_for_a_killed_export_is_found(written):
    """A kill between the two renames leaves the old folder so until the next export."""
    aside = written.folder.parent / ".zoo_abcdefgh.old"
    aside.mkdir()
    written.folder.rename(aside / written.folder.name)
    assert is_deployment(written.folder) and Deployment.read(written.folder).names == NAMES
    assert Deployment.read(written.folder).folder.is_dir()


def test_a_file_that_is_too_large_is_not_parsed(written):
    with (written.folder / FILE).open("ab") as file:
        file.truncate((8 << 20) + 1)
    with pytest.raises(InputError, match=r"cannot read .*inference\.yaml: its 8,388,609 bytes are more than"):
        Deployment.read(written.folder)
