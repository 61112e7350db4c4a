"""Downloads that can break off and go on, and archives that cannot write outside their folder."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import socket
import tarfile
import threading
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Callable

from video_zoo.utils.archives import read_members
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder, make_folder
from video_zoo.utils.locks import lock_file
from video_zoo.utils.log import Progress, logger
from video_zoo.utils.open_files import open_own

TIMEOUT_S = 30
TRIES = 4  # in a row, with fewer than LEAST_BYTES more than at any time before
LEAST_BYTES = 1 << 14  # in TIMEOUT_S, or else the connection is given up
MOST_BYTES = 2 << 30  # the largest released weights are a tenth of that
_LOG_EVERY_S = 3.0
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES)


class DownloadError(InputError):
    """What the URL should give could not be had."""


class NotFound(DownloadError):
    """The server has nothing there."""


class BadArchive(InputError):
    """What came is not what should have come: no archive, a damaged or hostile one, or other content."""


def fetch_folder(urls: list[str], folder: Path, check: Callable[[Path], None]) -> Path:
    """The content of a .tar.gz, unpacked to `folder`; downloaded only if the folder is not there.

    Processes that ask at once wait for the one that downloads. The folder appears whole or not at all; a download that
    breaks off leaves a `.part` file, and the next call goes on from there.

    Args:
        urls: tried in this order, the next where a server has nothing there; http, https or file.
        folder: where the content goes; a single top folder in the archive is left out.
        check: gets the unpacked folder before it takes its name; raises InputError if it is not what it should be.

    Raises:
        DownloadError: no network, no such file, broken off again and again, or the content is wrong.
        InputError: the place cannot be written; the download is kept.
    """
    if folder.is_dir():
        return folder
    make_folder(folder.parent)
    waiting = partial(logger.info, "another process is downloading %s; waiting for it", folder.name)
    with lock_file(f"{folder}.lock", f"{folder} is being downloaded by another process", waiting):
        if folder.is_dir():
            return folder
        archive = folder.with_name(folder.name + ".tar.gz.part")
        # A continued download may be damaged where its parts meet: it gets a second try, from the start.
        for last_try in (not archive.exists(), True):
            url = _download_first(urls, archive)
            try:
                _unpack(archive, folder, check)
                break
            except BadArchive as error:
                archive.unlink()
                if last_try:
                    raise DownloadError(f"{url} did not give the weights: {error}. Nothing was kept.") from error
                logger.info("the continued download of %s is damaged; starting again", url)
        archive.unlink()
    return folder


def download(url: str, part: Path) -> None:
    """Downloads `url` to the file `part`; goes on from the bytes that `part` already has.

    Raises:
        NotFound: the server says so (403, 404, 410), or a file: URL names no file.
        DownloadError: no network or no such server, another refusal, more than MOST_BYTES (nothing is kept then), or
            the connection broke off TRIES times in a row with fewer than LEAST_BYTES more than at any time before.
    """
    failures, most = 0, 0  # the second: bytes that `part` has had at some time; only more of them are progress
    while True:
        had = part.stat().st_size if part.exists() else 0
        most, began = max(most, had), True
        try:
            _download_rest(url, part, had)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416 and had:  # nothing after our bytes: all there, or of another file; unpacking will tell
                if error.headers.get("Content-Range", "").endswith(f"/{had}"):
                    return
                part.unlink()
            elif error.code < 500:
                kind = NotFound if error.code in (403, 404, 410) else DownloadError
                raise kind(f"cannot download {url}: the server says {error.code} {error.reason}") from error
            reason = f"the server says {error.code} {error.reason}"
        except urllib.error.URLError as error:
            if url.startswith("file:"):
                raise NotFound(f"cannot read {url}: {error.reason}") from error
            began, reason = False, str(error.reason)
            if isinstance(error.reason, socket.gaierror):
                reason = f"the name of its server cannot be looked up ({error.reason.strerror}); is there a network?"
                if error.reason.errno != socket.EAI_AGAIN:
                    raise DownloadError(f"cannot download {url}: {reason}") from error
        except (ValueError, http.client.InvalidURL) as error:
            raise DownloadError(
                f"cannot download {url}: {error}; a URL starts with https://, http:// or file://"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        failures = 0 if part.exists() and part.stat().st_size >= most + LEAST_BYTES else failures + 1
        if failures >= TRIES:
            kept = (
                f"; {part.stat().st_size:,} bytes are kept, and the same command goes on from there"
                if part.exists()
                else ""
            )
            raise DownloadError(f"cannot download {url}: {reason}{kept}")
        what = "broke off (%s); going on" if began else "cannot begin (%s); trying again"
        logger.info(f"download of %s {what}", url, reason)
        time.sleep(0.5 * 2**failures)


def _download_first(urls: list[str], part: Path) -> str:
    for url in urls[:-1]:
        with contextlib.suppress(NotFound):
            download(url, part)
            return url
    download(urls[-1], part)
    return urls[-1]


def _download_rest(url: str, part: Path, had: int) -> None:
    headers = {"Accept-Encoding": "identity", "User-Agent": "video-classification-zoo"}
    if had:
        headers["Range"] = f"bytes={had}-"
    request = urllib.request.Request(url, headers=headers)
    with _Watch() as watch, watch.opener().open(request, timeout=TIMEOUT_S) as response:
        watch.got_bytes += LEAST_BYTES  # the headers have come
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
        start = had if continues else 0
        length = re.fullmatch(r"\d{1,18}", response.headers.get("Content-Length", ""))
        total = start + int(length[0]) if length else None
        _check_size(total or 0, part, url)
        _copy(response, part, start, total, url, watch)
    got = part.stat().st_size
    if total is not None and got < total:
        raise OSError(f"{got:,} of {total:,} bytes came")


class _Watch:
    """Ends the connections of its opener when fewer than LEAST_BYTES more have come in TIMEOUT_S.

    A timeout of a socket is one of each byte: status line, headers and sizes of chunks that come a byte at a time have
    no end for it. A context manager, which raises OSError if it has ended them.

    Attributes: got_bytes: what has come so far; its user counts.
    """

    def __init__(self) -> None:
        self.got_bytes = 0
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        self._too_slow = False

    def opener(self) -> urllib.request.OpenerDirector:
        """Opens http, https and file URLs."""
        watch = self

        class Watched(http.client.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                watch._sockets.append(self.sock.dup())  # TLS makes another object of it

        class WatchedTls(http.client.HTTPSConnection, Watched):
            pass

        class Http(urllib.request.HTTPHandler):
            def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Watched, request)

        class Https(urllib.request.HTTPSHandler):
            def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(WatchedTls, request)

        class NoFtp(urllib.request.FTPHandler):
            def ftp_open(self, request: urllib.request.Request) -> None:
                raise ValueError(f"it leads to {request.full_url}")

        return urllib.request.build_opener(Http, Https, NoFtp)

    def __enter__(self) -> _Watch:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._over.set()
        for each in self._sockets:
            each.close()
        if self._too_slow and (error is None or isinstance(error, (OSError, http.client.HTTPException))):
            raise OSError(f"fewer than {LEAST_BYTES:,} bytes in {TIMEOUT_S} s") from error

    def _watch(self) -> None:
        before = 0
        while not self._over.wait(TIMEOUT_S):
            if self.got_bytes - before < LEAST_BYTES and self._sockets:
                self._too_slow = True
                for each in list(self._sockets):
                    with contextlib.suppress(OSError):  # it has ended by itself
                        each.shutdown(socket.SHUT_RDWR)
            before = self.got_bytes


def _copy(response, part: Path, start: int, total: int | None, url: str, watch: _Watch) -> None:
    progress, logged = Progress(total and (total - start) / 1e6, "MB"), time.monotonic()
    logger.info("downloading %s%s", url, f" ({total / 1e6:.1f} MB)" if total else "")
    try:
        opened = open_own(part, "r+b" if start else "wb")
    except OSError as error:
        raise InputError(f"cannot write {part}: {error.strerror or error}") from error
    with opened as file:
        position = file.seek(start)
        # read1 gives what is there: what has come by then is kept if the connection is given up.
        while position != total and (chunk := response.read1(min(1 << 20, (total or MOST_BYTES + 1) - position))):
            file.write(chunk)
            position += len(chunk)
            watch.got_bytes += len(chunk)
            _check_size(position, part, url)
            progress.add(len(chunk) / 1e6)
            if due := time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
            of_all = f" of {total / 1e6:.1f}" if total else ""
            progress.say(f"{start / 1e6 + progress.done:.1f}{of_all} MB", due=due)
        file.truncate()


def _check_size(size: int, part: Path, url: str) -> None:
    """Raises DownloadError, and keeps nothing, if a download is larger than weights can be."""
    if size > MOST_BYTES:
        part.unlink(missing_ok=True)
        raise DownloadError(f"cannot download {url}: it is larger than {MOST_BYTES:,} bytes, so it is none of weights")


def _unpack(archive: Path, folder: Path, check: Callable[[Path], None]) -> None:
    """Unpacks to a temporary folder, checks it, and renames it.

    Raises BadArchive, or InputError if the folder cannot be written.
    """
    with atomic_folder(folder) as target:
        try:
            for member, data in read_members(archive):
                _write_member(member, data, target)
        except (OSError, ValueError) as error:  # ValueError: no sound archive, or a name that no file can have
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise
            with archive.open("rb") as file:
                start = file.read(40)
            raise BadArchive(f"it is no whole .tar.gz ({error}; it starts with {start!r})") from error
        _drop_single_top(target)
        try:
            check(target)
        except InputError as error:
            raise BadArchive(str(error)) from error


def _write_member(member: tarfile.TarInfo, data: bytes | None, target: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or not (member.isfile() or member.isdir()):
        raise BadArchive(f"the archive holds {member.name!r}, which is a link, a device, or outside its folder")
    path = target.joinpath(*name.parts)
    (path if data is None else path.parent).mkdir(parents=True, exist_ok=True)
    if data is not None:
        path.write_bytes(data)


def _drop_single_top(folder: Path) -> None:
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        top = entries[0].rename(folder / f".top-{os.getpid()}")
        for entry in top.iterdir():
            entry.rename(folder / entry.name)
        top.rmdir()
