"""One file from the first of several mirrors that delivers it whole; never half written under its name."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes, before a mirror is given up."""

CHUNK = 1 << 16


class DownloadError(RuntimeError):
    """No mirror delivered a file with the right content; the message lists what each one did."""


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A path beside the target whose file takes the target's name when the block ends well, and goes otherwise.

    Args:
        target: the name to take; a file there stays whole until it is replaced.

    Yields:
        The path to write to.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        # Opened here and not by tempfile, so that the usual permissions apply: caches are often shared.
        part.open("xb").close()
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def transfer(
    target: Path, name: str, mirrors: Sequence[str], wrong: Callable[[Path], str | None], progress: bool
) -> None:
    """Download one file.

    Args:
        target: where it goes.
        name: what it is called below each mirror.
        mirrors: base addresses, tried in order.
        wrong: says what is wrong with the content of the file given, or None.
        progress: whether to show a progress bar.

    Raises:
        DownloadError: if every mirror failed.
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
        f"(mirrors=[...]), or put the file into {target.parent} by hand."
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
    import pooch
    import requests
    from tqdm.auto import tqdm

    # pooch asks whether the bar is true, and a tqdm bar is true if its total is; pooch then sets the real total.
    with tqdm(total=1, desc=name, unit="B", unit_scale=True, disable=not progress) as bar:
        # No transfer compression, so that the bytes that arrive are those counted by Content-Length.
        headers = {"Accept-Encoding": "identity"}
        download = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT, headers=headers)
        try:
            download(url, str(part), None)
        except (requests.RequestException, ValueError) as error:  # a full disk is neither, and no mirror's fault
            raise _RefusedError(_reason(error)) from error
        # urllib3 2 refuses a body shorter than announced by itself; version 1, which requests allows, does not.
        arrived = part.stat().st_size
        if bar.total and arrived < bar.total:
            raise _RefusedError(f"truncated: {arrived} of {bar.total} bytes arrived")


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
