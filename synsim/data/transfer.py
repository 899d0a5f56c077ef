"""One file from the first of several mirrors that delivers it whole; never half written under its name."""

import errno
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes, before a mirror is given up."""

LONGEST = 3600.0
"""Seconds that one file may take from one mirror."""

PATIENCE, SLOWEST = 60.0, 1000.0
"""Seconds after which a mirror is given up that sent fewer bytes per second than this, on the mean."""

LARGEST = 2**28
"""Bytes that a file may have, as it comes and unpacked: 256 MiB, half as many again as the largest one known."""

CHUNK = 1 << 16

LEFT = re.compile(r"\..+\.[0-9a-f]{12}\.part|\.unpacking-.+")
OLD = 24 * 3600.0
"""Seconds after which what a killed download left belongs to nobody."""


class DownloadError(RuntimeError):
    """No mirror delivered a file with the right content; the message lists what each one did."""


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A path beside the target whose file takes the target's name when the block ends well, and goes otherwise.

    Args:
        target: the name to take; a file there stays whole until it is replaced, and so does what a link points to.

    Yields:
        The path to write to.

    Raises:
        OSError: if the target is a folder, or can't be written; it names the target.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        if target.is_dir():
            raise OSError(errno.EISDIR, "A folder lies where a file belongs", str(target))
        # Opened here and not by tempfile, so that the usual permissions apply: caches are often shared.
        part.open("xb").close()
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        if error.filename in (None, str(part)):  # a full disk names no file, and nobody knows the name of the part
            error.filename = str(target)
        raise
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what downloads that were killed a day ago or earlier left in a folder.

    Args:
        folder: where files are downloaded to.
    """
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be quicker
            if LEFT.fullmatch(path.name) and time.time() - path.lstat().st_mtime > OLD:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def transfer(
    target: Path, name: str, mirrors: Sequence[str], wrong: Callable[[Path], str | None], progress: bool, by_hand: str
) -> None:
    """Download one file.

    Args:
        target: where it goes.
        name: what it is called below each mirror.
        mirrors: base addresses, tried in order.
        wrong: says what is wrong with the content of the file given, or None.
        progress: whether to show a progress bar.
        by_hand: what a person can do who has the file from elsewhere.

    Raises:
        DownloadError: if every mirror failed.
        OSError: if the file can't be written.
    """
    reasons = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            _take(url, target, name, wrong, progress)
        except _RefusedError as error:
            reasons.append(f"\n  {url}: {error}")
        else:
            return
    raise DownloadError(
        f"{name} could not be downloaded:{''.join(reasons)}\n"
        "What to do: check the connection (and HTTPS_PROXY) and try again, name the base address of another copy "
        f"(mirrors=[...]), or {by_hand}."
    )


class _RefusedError(Exception):
    """Why one mirror's answer is not taken."""


def _take(url: str, target: Path, name: str, wrong: Callable[[Path], str | None], progress: bool) -> None:
    with new_file(target) as part:
        _receive(url, part, name, progress)
        if reason := wrong(part):
            raise _RefusedError(reason)


def _receive(url: str, part: Path, name: str, progress: bool) -> None:
    # Imported here: slow, and most users read what is there already.
    import requests

    from synsim._progress import bar

    with part.open("wb") as file, bar(desc=name, unit="B", unit_scale=True, shown=progress) as shown:
        try:
            _Transfer(url, file, shown).watch()
        except (requests.RequestException, ValueError) as error:  # a full disk is neither, and no mirror's fault
            raise _RefusedError(_reason(error)) from error


class _Transfer:
    """A download in a thread of its own.

    Nothing bounds what a server that sends a byte now and then may take in all: the socket's time limit begins anew
    with each of them, and names are resolved without one. So another thread looks at the clock.

    Args:
        url: the address.
        file: where the content goes.
        bar: shows the progress.
    """

    def __init__(self, url: str, file: BinaryIO, bar: Any) -> None:
        self._url, self._file, self._bar = url, file, bar
        self._arrived, self._given_up = 0, False
        self._response: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"download of {url}", daemon=True)

    def watch(self) -> None:
        """Wait for the end, or give up.

        Raises:
            _RefusedError: if it takes too long, or brings too much.
        """
        began = time.monotonic()
        self._thread.start()
        try:
            while self._thread.is_alive():
                self._thread.join(0.2)
                took = time.monotonic() - began
                if took > min(LONGEST, PATIENCE + self._arrived / SLOWEST):
                    raise _RefusedError(f"too slow: {self._arrived:,} bytes arrived in {took:.0f} seconds")
        finally:
            self._leave()
        if self._error is not None:
            raise self._error

    def _leave(self) -> None:
        self._given_up = True
        if self._thread.is_alive():
            # urllib3 from 2.3 can wake a thread that waits for bytes; with older ones it ends with the next bytes.
            with suppress(Exception):
                self._response.raw.shutdown()
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            self._take()
        except BaseException as error:
            self._error = error

    def _take(self) -> None:
        import requests

        # No transfer compression, so that the bytes that arrive are those counted by Content-Length.
        headers = {"Accept-Encoding": "identity"}
        with requests.get(self._url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            self._response = response
            response.raise_for_status()
            if response.status_code >= 300:
                raise _RefusedError(f"HTTP {response.status_code} {response.reason}, without another address")
            announced = int(response.headers.get("Content-Length", 0))
            if announced > LARGEST:
                raise _RefusedError(f"{announced:,} bytes are announced, and at most {LARGEST:,} are taken")
            self._bar.reset(announced or None)
            for chunk in response.iter_content(CHUNK):
                self._keep(chunk)
        # urllib3 2 refuses a body shorter than announced by itself; version 1, which requests allows, does not.
        if self._arrived < announced and "Content-Encoding" not in response.headers:
            raise _RefusedError(f"truncated: {self._arrived} of {announced} bytes arrived")

    def _keep(self, chunk: bytes) -> None:
        if self._given_up:
            raise _RefusedError("given up")
        self._arrived += len(chunk)
        if self._arrived > LARGEST:
            raise _RefusedError(f"more than {LARGEST:,} bytes came, and no more are taken")
        self._file.write(chunk)
        self._bar.update(len(chunk))


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    # The innermost error says it plainly ("Connection refused"). Not by __context__: it leads to errors of the caller.
    inner: BaseException | None = error
    while inner is not None:
        root = inner
        inner = root.__cause__ or next((each for each in root.args if isinstance(each, BaseException)), None)
    what = "truncated: " if isinstance(error, requests.exceptions.ChunkedEncodingError) else ""
    return f"{what}{root}" if str(root) else f"{what}{type(root).__name__}"
