"""Paddle 1.x's variable files: what is written is read again, and what is damaged is never taken for weights."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import math
import pickle
import re
import struct
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from video_zoo.utils import archives, fluid_vars
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import VariableStore, decode, encode, format_info, write_folder

SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple) | st.sampled_from([(128,), (3, 300), (20_000,), (1,) * 9])


@st.composite
def arrays(draw) -> np.ndarray:
    """Any bits, so NaN and infinity too."""
    dtype, shape = np.dtype(draw(st.sampled_from(["<f4", "<f8", "<i4", "<i8"]))), draw(SHAPES)
    bits = np.random.default_rng(draw(st.integers(0, 1000))).bytes(dtype.itemsize * math.prod(shape))
    return np.frombuffer(bits, dtype).reshape(shape)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


@given(array=arrays())
@example(np.array(3.0, np.float32))
@example(np.zeros((0, 3), np.int64))
@settings(deadline=None)
def test_what_is_written_is_read_again(array):
    assert same(decode(encode(array), "x"), array)


def test_only_the_values_count_not_how_they_lie_in_memory():
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    expected = encode(array)
    assert encode(array.astype(">f4")) == expected
    assert encode(np.asfortranarray(array)) == expected
    assert encode(np.repeat(array, 2, 1)[:, ::2]) == expected


# Bytes made here, by v1.5's format alone


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def file_of(desc: bytes, values: bytes, levels: tuple[bytes, ...] = ()) -> bytes:
    lod = b"".join(struct.pack("<Q", len(level)) + level for level in levels)
    return struct.pack("<IQ", 0, len(levels)) + lod + struct.pack("<Ii", 0, len(desc)) + desc + values


FLOAT32, INT64 = b"\x08\x05", b"\x08\x03"


@pytest.mark.parametrize(
    "dims",
    [b"\x10\x02\x10\xac\x02", b"\x12\x03\x02\xac\x02", b"\x12\x01\x02\x10\xac\x02"],
    ids=["a field each", "packed", "both"],
)
@pytest.mark.parametrize("levels", [(), (b"",), (struct.pack("<3Q", 0, 1, 2), b"\xff" * 5)], ids=["none", "one", "two"])
def test_a_file_of_v15(dims, levels):
    numbers = [index / 8 for index in range(600)]
    values = struct.pack("<600f", *numbers)
    array = decode(file_of(FLOAT32 + dims, values, levels), "x")  # 0xac 0x02 is 300
    assert array.dtype == np.float32 and array.shape == (2, 300)
    assert array.ravel().tolist() == numbers


def test_data_types():
    for code, letter, dtype in ((2, "i", np.int32), (3, "q", np.int64), (5, "f", np.float32), (6, "d", np.float64)):
        array = decode(file_of(bytes([8, code, 0x10, 2]), struct.pack(f"<2{letter}", -1, 7)), "x")
        assert array.dtype == dtype and array.tolist() == [-1, 7]
    for code in (0, 1, 4, 20, 127):
        with pytest.raises(InputError, match="x is no Paddle variable file"):
            decode(file_of(bytes([8, code, 0x10, 2]), bytes(16)), "x")


def test_what_is_written_is_v15s_format():
    values = struct.pack("<6q", *range(6))
    assert encode(np.arange(6).reshape(2, 3)) == file_of(INT64 + b"\x10\x02\x10\x03", values)
    assert encode(np.zeros((300, 1), np.float32)) == file_of(FLOAT32 + b"\x10\xac\x02\x10\x01", bytes(1200))


# Damage


@given(array=arrays(), data=st.data())
@settings(deadline=None)
def test_a_file_cut_off_anywhere_is_an_error(array, data):
    whole = encode(array)
    assume(len(whole) < 5000)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InputError, match=r"^folder/conv1_weights is (no Paddle variable file|damaged)"):
        decode(whole[:cut], "folder/conv1_weights")


def test_every_cut_of_one_file():
    whole = file_of(FLOAT32 + b"\x12\x03\x02\xac\x02", bytes(2400), (bytes(24), bytes(5)))
    assert decode(whole, "x").shape == (2, 300)
    for cut in range(len(whole)):
        with pytest.raises(InputError):
            decode(whole[:cut], "x")


@given(array=arrays(), more=st.binary(min_size=1, max_size=20))
@settings(deadline=None)
def test_bytes_behind_the_values_are_an_error(array, more):
    with pytest.raises(InputError, match="^x is damaged: .* bytes of values, and its shape "):
        decode(encode(array) + more, "x")


def test_the_message_says_what_is_missing():
    with pytest.raises(InputError) as caught:
        decode(encode(np.zeros((1000, 2), np.float32))[:-4], "conv1_weights")
    assert str(caught.value) == (
        "conv1_weights is damaged: 7,996 bytes of values, and its shape [1000, 2] asks for 8,000"
    )


def holds(data: bytes) -> None:
    """Reads bytes that may be anything: an InputError, or an array that is no larger than they are."""
    try:
        array = decode(data, "x")
    except InputError as error:
        assert len(str(error)) < 2000
    else:
        assert array.nbytes < len(data)


@given(data=st.binary(max_size=200))
def test_any_bytes(data):
    holds(data)


@given(desc=st.binary(min_size=1, max_size=60), values=st.binary(max_size=16))
def test_any_description(desc, values):
    holds(file_of(desc, values))


@given(dims=st.lists(st.integers(0, 2**70), max_size=12), values=st.binary(max_size=8), packed=st.booleans())
@example([2**64 - 1, 0], b"", False)
@example([0, 2**63], b"", False)
@example([1] * 70, bytes(4), False)
@example([2**62] * 2000, b"", True)
def test_any_dims(dims, values, packed):
    sizes = [varint(size) for size in dims]
    together = b"".join(sizes)
    holds(
        file_of(
            FLOAT32 + (b"\x12" + varint(len(together)) + together if packed else b"\x10".join([b"", *sizes])), values
        )
    )


@given(where=st.integers(0, 60), byte=st.integers(0, 255))
def test_any_other_byte(where, byte):
    data = bytearray(file_of(FLOAT32 + b"\x10\x02\x10\x03", bytes(24), (bytes(8),)))
    data[where % len(data)] = byte
    holds(bytes(data))


@pytest.mark.parametrize("levels", [17, 2**32, 2**64 - 1])
def test_an_absurd_number_of_levels(levels):
    with pytest.raises(InputError):
        decode(struct.pack("<IQ", 0, levels) + bytes(10_000), "x")


def test_a_level_of_absurd_size():
    with pytest.raises(InputError):
        decode(struct.pack("<IQQ", 0, 1, 2**64 - 1) + bytes(100), "x")


def test_a_number_of_more_than_ten_bytes():
    """Protobuf's limit; without one, a megabyte of 0xff would take minutes."""
    ten, eleven = b"\x81" + b"\x80" * 8 + b"\x00", b"\x81" + b"\x80" * 9 + b"\x00"
    assert decode(file_of(FLOAT32 + b"\x10" + ten, bytes(4)), "x").shape == (1,)
    with pytest.raises(InputError):
        decode(file_of(FLOAT32 + b"\x10" + eleven, bytes(4)), "x")


@pytest.mark.parametrize("version", [1, 2**31])
def test_another_version(version):
    good = file_of(FLOAT32 + b"\x10\x01", bytes(4))
    for offset in (0, 12):
        with pytest.raises(InputError, match="is no Paddle variable file"):
            decode(good[:offset] + struct.pack("<I", version) + good[offset + 4 :], "x")


# Folders and archives

VARIABLES = {
    "conv1_weights": np.random.default_rng(0).standard_normal((4, 3, 7, 7)).astype("f4"),
    "fc_0.b_0": np.array([1, 2, 3], "f4"),
    "@LR_DECAY_COUNTER@": np.array([5], "i8"),
}
INFO = {"model": "TSM", "epoch": 3, "best_top1": 0.5}


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "weights"
    path.mkdir()
    write_folder(path, VARIABLES, INFO)
    return path


def pack(folder: Path, path: Path, mode: str, top: str) -> Path:
    with tarfile.open(path, mode) as archive:
        archive.add(folder, top)
    return path


@pytest.fixture(params=["folder", "tar.gz", "tar.gz of the content", "tar"])
def stored(request, folder, tmp_path) -> Path:
    if request.param == "folder":
        (folder / "a_folder").mkdir()
        return folder
    if request.param == "tar":
        return pack(folder, tmp_path / "w.tar", "w", "weights")
    return pack(folder, tmp_path / "w.tar.gz", "w:gz", "weights" if request.param == "tar.gz" else ".")


def test_a_store_reads_what_was_written(stored):
    store = VariableStore(str(stored))
    assert store.names() == {*VARIABLES, "checkpoint.json"}
    for name, array in VARIABLES.items():
        assert same(store.read(name), array)
        assert store.raw(name) == encode(array)
    assert store.info() == INFO
    with pytest.raises(KeyError):
        store.raw("missing")


def test_a_v15_folder_has_no_info(tmp_path):
    write_folder(tmp_path, VARIABLES)
    assert {path.name for path in tmp_path.iterdir()} == set(VARIABLES)
    assert VariableStore(tmp_path).info() == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", b"\xff\xfe", "[" * 100_000, '{"a":' * 50 + "1" + "}" * 50, '{"epoch": NaN}']
    + ['{"saved_s": 1e999}']
    + [f'{{"best_top1": 1{"0" * 400}}}', '{"epoch": true}', '{"global_step": -1}', '{"global_step": 9007199254740993}']
    + ['{"model": ["TSM"]}', '{"classes": {"0": "a"}}', '{"MODEL": []}', '{"loss_scale": []}', '{"sha256": {"a": 1}}']
    + [
        '{"sha256": {"a": ""}}',
        f'{{"sha256": {{"a": "{"G" * 64}"}}}}',
        '{"format": 3}',
        '{"format": 2}',
        '{"own_sha256": ""}',
    ]
    + ['{"more": [' + "[]," * (6 << 20) + "[]]}"],
)
def test_a_damaged_info_is_an_error_for_whatever_is_asked(folder, text):
    """It has the checksums of the other files, too."""
    (folder / "checkpoint.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    store = VariableStore(folder)
    for ask in (store.info, store.names, lambda: store.read("fc_0.b_0")):
        with pytest.raises(InputError, match=f"^{folder}/checkpoint.json is damaged: ") as caught:
            ask()
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("stored", ["folder", "tar.gz"], indirect=True)
def test_one_changed_bit_is_an_error_when_the_file_is_asked_for(folder, stored, tmp_path):
    whole = (folder / "conv1_weights").read_bytes()
    (folder / "conv1_weights").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (folder / "@LR_DECAY_COUNTER@").unlink()
    store = VariableStore(folder if stored.is_dir() else pack(folder, stored, "w:gz", "weights"))
    with pytest.raises(InputError, match=r"conv1_weights is damaged: checkpoint\.json has another SHA-256 of it"):
        store.read("conv1_weights")
    assert same(store.read("fc_0.b_0"), VARIABLES["fc_0.b_0"]) and "@LR_DECAY_COUNTER@" in store.names()
    with pytest.raises(InputError, match="@LR_DECAY_COUNTER@ is missing, and checkpoint.json says that it was there"):
        store.read("@LR_DECAY_COUNTER@")


@given(st.integers(0, 2**20 - 1))
def test_a_changed_bit_of_checkpoint_json_is_an_error_or_changes_nothing(tmp_path_factory, place):
    folder = tmp_path_factory.mktemp("bits")
    write_folder(folder, VARIABLES, {**INFO, "training": "t1", "saved_s": 1.5e9, "totals": [0.1, 1e300, -0.0]})
    path = folder / "checkpoint.json"
    whole, before = path.read_bytes(), VariableStore(folder)
    changed = bytearray(whole)
    bit = place * 8 * len(whole) >> 20
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
        after = VariableStore(folder)
        assert (after.info(), after.checksums()) == (before.info(), before.checksums())
    except InputError as error:
        assert "checkpoint.json is damaged" in str(error)


@pytest.mark.parametrize("name", ["sha256", "own_sha256", "format"])
def test_no_sum_is_switched_off_by_a_change_of_its_name(folder, name):
    text = (folder / "checkpoint.json").read_text()
    (folder / "checkpoint.json").write_text(text.replace(f'"{name}"', f'"{name[:-1]}_"'))
    with pytest.raises(InputError, match="checkpoint.json is damaged: it is not what was written"):
        VariableStore(folder).read("conv1_weights")


def test_a_checkpoint_of_the_first_format_is_read(folder):
    """Its checkpoint.json has no sum of its own."""
    said = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps({**INFO, "sha256": said["sha256"]}))
    assert VariableStore(folder).info() == INFO
    (folder / "conv1_weights").write_bytes(encode(np.zeros(3, "f4")))
    with pytest.raises(InputError, match="conv1_weights is damaged"):
        VariableStore(folder).read("conv1_weights")


def test_dims_without_end_are_no_variable():
    """A megabyte of zeros in a packed field, which a small archive can hold, would be a million dims."""
    size = 1 << 20
    desc = b"\x08\x05\x12" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + bytes(size)
    data = struct.pack("<IQIi", 0, 0, 0, len(desc)) + desc
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="w is no Paddle variable file"):
            decode(data, "w")
        assert tracemalloc.get_traced_memory()[1] < 1 << 17
    finally:
        tracemalloc.stop()


def test_a_checkpoint_of_before_there_were_checksums_is_read(folder):
    (folder / "checkpoint.json").write_text(json.dumps(INFO))
    (folder / "conv1_weights").write_bytes(encode(np.zeros(3, "f4")))
    store = VariableStore(folder)
    assert store.checksums() == {} and store.info() == INFO and store.read("conv1_weights").shape == (3,)


def test_a_damaged_variable_is_an_error_when_it_is_asked_for(folder):
    (folder / "checkpoint.json").unlink()
    (folder / "conv1_weights").write_bytes(b"")
    store = VariableStore(folder)
    assert same(store.read("fc_0.b_0"), VARIABLES["fc_0.b_0"])
    with pytest.raises(InputError, match=f"^{folder}/conv1_weights is no Paddle variable file"):
        store.read("conv1_weights")


def test_a_file_that_goes_away(folder):
    store = VariableStore(folder)
    (folder / "conv1_weights").unlink()
    with pytest.raises(InputError, match=f"cannot read {folder}/conv1_weights: No such file"):
        store.read("conv1_weights")


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=f"^no weights at {tmp_path}/missing: give a folder"):
        VariableStore(tmp_path / "missing")


@pytest.mark.parametrize(
    "data", [b"", b"no archive", bytes(100), b"<html>" * 1000], ids=["empty", "text", "zeros", "a page"]
)
def test_a_file_that_is_no_archive(tmp_path, data):
    path = tmp_path / "model.pdparams"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        VariableStore(path)
    assert str(caught.value).startswith(f"{path} is no .tar.gz of a weights folder, or is damaged: ")
    assert "\n" not in str(caught.value)


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVE = archive_of({name: encode(array) for name, array in VARIABLES.items()})


@given(cut=st.integers(0, len(ARCHIVE) - 1))
@example(len(ARCHIVE) - 1)
def test_an_archive_cut_off_anywhere_is_an_error(tmp_path_factory, cut):
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    path.write_bytes(ARCHIVE[:cut])
    with pytest.raises(InputError, match="is damaged"):
        VariableStore(path)


@given(bit=st.integers(8 * 10, 8 * len(ARCHIVE) - 1))  # the first 10 bytes are gzip's header: a time, a name
def test_an_archive_with_one_bit_changed_gives_no_other_weights(tmp_path_factory, bit):
    data = bytearray(ARCHIVE)
    data[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.getbasetemp() / "bit.tar.gz"
    path.write_bytes(data)
    try:
        store = VariableStore(path)
    except InputError as error:
        assert "is damaged" in str(error)
    else:  # one of the few bits that mean nothing
        assert all(same(store.read(name), array) for name, array in VARIABLES.items())


def small_limits(monkeypatch) -> None:
    for name, value in (("_FREE_BYTES", 1 << 20), ("MOST_FILE_BYTES", 4 << 20), ("MOST_MEMBERS", 100)):
        monkeypatch.setattr(archives, name, value)


def claims(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar whose one member says that it is so large, and is not."""
    info = tarfile.TarInfo("conv1_weights")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def sparse() -> bytes:
    """A GNU sparse member: 512 bytes of data, and 6 GB of nothing before them."""
    info = tarfile.TarInfo("conv1_weights")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (6 << 30, 512)
    header[483:495] = b"%011o\0" % ((6 << 30) + 512)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + bytes(1024)


BOMBS = {
    "sparse": (sparse(), "is stored as a sparse file"),
    "gzip": (gzip.compress(bytes(3 << 20)), "its content is larger than 1,048,576 bytes"),
    "a file": (gzip.compress(claims(3 << 20) + bytes(3 << 20)), "its content is larger than 1,048,576 bytes"),
    "bzip2": (bz2.compress(claims(3 << 20) + bytes(3 << 20)), "its content is larger than 1,048,576 bytes"),
    "a large name": (gzip.compress(claims(3 << 20, b"L") + bytes(3 << 20)), "its content is larger than 1,048,576"),
    "a large header": (gzip.compress(claims(3 << 20, b"x") + bytes(3 << 20)), "its content is larger than 1,048,576"),
    "a claim": (claims(6 << 30), "'conv1_weights' is larger than 4,194,304 bytes"),
    "a claim of a header": (claims(6 << 30, b"x"), "header"),
    "many files": (gzip.compress(b"".join(tarfile.TarInfo(str(n)).tobuf() for n in range(101))), "more than 100 files"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_an_archive_takes_no_more_memory_than_weights_do(tmp_path, monkeypatch, case):
    small_limits(monkeypatch)
    data, reason = BOMBS[case]
    path = tmp_path / "w.tar.gz"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"^{path} is no .tar.gz of a weights folder, or is damaged: .*{reason}"):
            VariableStore(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_weights_that_are_zeros_are_no_bomb(tmp_path):
    """As the momenta of a training's first step."""
    path = tmp_path / "w.tar.gz"
    path.write_bytes(archive_of({"conv1_weights": encode(np.zeros(1 << 20, "f4"))}))
    assert path.stat().st_size < 1 << 15 and VariableStore(path).read("conv1_weights").shape == (1 << 20,)


def test_a_variable_that_is_too_large_for_one(folder, monkeypatch):
    monkeypatch.setattr(fluid_vars, "MOST_FILE_BYTES", 1000)
    with pytest.raises(InputError, match=r"cannot read .*_weights: its [\d,]+ bytes are more than the 1,000"):
        VariableStore(folder).read("conv1_weights")


def test_only_the_files_of_an_archive_are_read(tmp_path):
    path = tmp_path / "w.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("a", tarfile.SYMTYPE),
            ("b", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
            ("d", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("../../outside"))
    assert VariableStore(path).names() == {"outside"}
    assert list(tmp_path.iterdir()) == [path]


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("as_archive", [False, True])
def test_a_pickle_is_not_run(tmp_path, as_archive):
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    path = tmp_path / "weights"
    if as_archive:
        path.write_bytes(archive_of({"conv1_weights": bomb, "checkpoint.json": bomb}))
    else:
        path.mkdir()
        (path / "conv1_weights").write_bytes(bomb)
        (path / "checkpoint.json").write_bytes(bomb)
    store = VariableStore(path)
    with pytest.raises(InputError):
        store.read("conv1_weights")
    with pytest.raises(InputError):
        store.info()
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb)
    assert (tmp_path / "ran").exists()  # it would have been


def test_info_is_json_that_people_can_read(folder):
    text = (folder / "checkpoint.json").read_text(encoding="utf-8")
    checksums = {name: hashlib.sha256(encode(array)).hexdigest() for name, array in VARIABLES.items()}
    said = json.loads(text)
    assert re.fullmatch("[0-9a-f]{64}", said.pop("own_sha256"))
    assert said == {**INFO, "format": 2, "sha256": checksums} and text.endswith("}\n") and text.count("\n") > len(INFO)
    assert text == format_info(INFO, checksums)


def test_info_is_plain_ascii(tmp_path):
    """So that a path that is no UTF-8 can be written, too."""
    info = {"filelist": "caf\udcff.list", "classes": ["grün 漢 😀"]}
    assert format_info(info, {}).isascii() and json.loads(format_info(info, {})).items() >= info.items()
    write_folder(tmp_path, {}, info)
    assert VariableStore(tmp_path).info() == info
