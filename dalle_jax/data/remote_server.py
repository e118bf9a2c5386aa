"""Servers of files by URL: connections through fsspec, retries and errors."""

import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

TRIES = 5
FIRST_PAUSE = 0.5  # seconds before the second try; doubled with each further one
STALLED = 30.0  # seconds without a byte after which a connection counts as broken
REQUESTS = 16  # at once

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs", "hf": "huggingface_hub"}
_PACKAGES |= {"http": "'dalle-jax[remote]'", "https": "'dalle-jax[remote]'"}
_PACKAGES |= {"az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs"}
# Asking again can't help: the answer would be the same.
_FINAL = (ValueError, TypeError, ImportError, NotImplementedError)
_FINAL += (PermissionError, IsADirectoryError, NotADirectoryError)
_REPEATED_STATUS = (408, 425, 429)

Result = TypeVar("Result")
_servers: dict[tuple[int, str, str], Any] = {}


def is_url(name: str) -> bool:
    """Whether a name is a URL, and not of this machine's disks."""
    return bool(_SCHEME.match(name)) and not name.lower().startswith("file://")


def split_url(url: str) -> SplitResult:
    """The parts of a URL; a ValueError if it is none."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{url[:200]!r} is no URL: {error}") from None


def shown(url: str) -> str:
    """A URL for messages and logs, without password and query, which may hold a signature."""
    if not is_url(url):
        return url
    parts = split_url(url)
    if not parts.query and "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(query="", netloc=parts.netloc.rpartition("@")[2]))


def by_http(url: str) -> bool:
    """Whether a URL is of an HTTP server, which need not list its files."""
    return split_url(url).scheme in ("http", "https")


class RemoteError(OSError):
    """A file by URL can't be read."""


class RefusedError(RemoteError):
    """What a server does not do, in a sentence."""


def in_threads(ask: Callable[[Any], Result], arguments: Iterable[Any]) -> list[Result]:
    """The results of a function that waits for servers, for each argument in order."""
    with ThreadPoolExecutor(REQUESTS) as threads:
        return list(threads.map(ask, arguments))


def open_server(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it."""
    parts = split_url(url)
    # fsspec itself would make one with connections of its own for every thread.
    key = (os.getpid(), parts.scheme, parts.netloc)
    if key not in _servers:
        _servers[key] = _connect(url)
    return _servers[key], _servers[key]._strip_protocol(url)


def _connect(url: str) -> Any:
    import fsspec

    scheme = split_url(url).scheme
    options: dict[str, Any] = {}
    try:
        if by_http(url):
            import aiohttp

            wait = aiohttp.ClientTimeout(total=None, sock_connect=STALLED, sock_read=STALLED)
            options = {"client_kwargs": {"timeout": wait}}
        return fsspec.core.url_to_fs(url, **options)[0]
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        what = f": pip install {package}" if package else f" ({error})"
        raise ValueError(f"data by {scheme}:// need a further package{what}") from error
    except ValueError as error:
        raise ValueError(f"{shown(url)} can't be read: {error}") from error


def repeat(url: str, action: Callable[[], Result]) -> Result:
    """The result of an action on a URL, retried with growing pauses.

    Raises:
        FileNotFoundError: there is nothing at the URL.
        OSError: all tries failed, or another can't help.
    """
    for tries in range(1, TRIES + 1):
        try:
            return action()
        except Exception as error:  # Each file system raises errors of its own.
            reason = _reason(error)
            if isinstance(reason, RefusedError):
                raise
            if isinstance(reason, FileNotFoundError):
                raise FileNotFoundError(f"there is no {shown(url)}") from error
            if _is_final(reason) or tries == TRIES:
                text = " ".join(str(reason).replace(url, shown(url)).split())
                many = f" after {tries} tries" if tries > 1 else ""
                raise RemoteError(
                    f"{shown(url)} could not be read{many}: {text[:300] or type(reason).__name__}"
                ) from error
        time.sleep(FIRST_PAUSE * 2 ** (tries - 1))
    raise AssertionError("the last try returns or raises")


def _reason(error: BaseException) -> BaseException:
    """The cause of an error: fsspec says of a broken connection, too, that there is no file."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if getattr(error, "status", None) == 404:
        return FileNotFoundError()
    return error


def _is_final(error: BaseException) -> bool:
    status = getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _REPEATED_STATUS
    return refused or isinstance(error, _FINAL)
