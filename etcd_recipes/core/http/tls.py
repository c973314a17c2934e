"""TLS from files, which are read again when they change.

How a rotation goes
1. Whoever wants a connection asks for the `current` context. The files are looked at (their times, sizes
   and inodes, through links), and not read.
2. When one of them has changed, a new context is made of all of them. Connections belong to the context
   that they were made with; those of an older one are used for nothing new.
3. When that fails (a file is half written, or away for a moment, or the key does not belong to the
   certificate yet), what worked goes on working. It is said once in the log, and tried again next time.

Rules of this file
* What cannot be loaded is a ValueError that names the argument, the file, and what to do.
* Nobody is ever asked for a passphrase: OpenSSL would do so on the terminal.
* A child of fork makes a context of its own: another thread may have been inside the parent's when it
  forked. The parent's serves it only where the files cannot be read (any more).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from etcd_recipes.core import runtime
from etcd_recipes.core.log import event_logger

__all__ = ["Tls", "load"]

_Stamp = tuple[tuple[int, int, int] | None, ...]

_CERTIFICATE = b"-----BEGIN CERTIFICATE"
_KEY = b"PRIVATE KEY-----"


class Tls:
    """The TLS context of some files, as they are now.

    `ca` is a file with the authorities to trust (or a folder, as OpenSSL wants it); None trusts whatever
    answers. `cert` is the client's own certificate, `key` its key (None: in the same file).
    """

    def __init__(self, ca: str | None, cert: str | None = None, key: str | None = None) -> None:
        self._files = (ca, cert, key)
        self._context: ssl.SSLContext | None = None
        self._stamp: _Stamp | None = None
        self._troubled = False
        self._lock = runtime.new_lock()

    def current(self) -> ssl.SSLContext:
        """Give the context of the files as they are, or were when they could last be loaded.

        Raises ValueError while they never could.
        """
        stamp = tuple(map(_stamp, self._files))
        if (context := self._context) is not None and stamp == self._stamp:
            self._troubled = False
            return context
        try:
            # The stamp was taken before the reading: what changes in between is seen next time.
            return self._take(load(*self._files), stamp)
        except ValueError as error:
            if (before := self._context) is None:
                raise
            with self._lock:
                first, self._troubled = not self._troubled, True
            if first:
                event_logger("http").warning("tls.reload_failed", error=str(error))
            return before

    def _take(self, fresh: ssl.SSLContext, stamp: _Stamp) -> ssl.SSLContext:
        """Make this the context, unless another thread was faster: two would not share their connections."""
        with self._lock:
            before, changed = self._context, stamp != self._stamp
            if before is None or changed:
                self._context, self._stamp = fresh, stamp
            self._troubled = False
        if before is not None and changed:
            event_logger("http").info("tls.reloaded")
        return self._context or fresh

    def forget(self) -> None:
        """Have the files loaded again before the next connection; in a child of fork."""
        self._lock = runtime.new_lock()
        self._stamp = None


def _stamp(file: str | None) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file) if file is not None else None  # noqa: PTH116 (on the road of every call)
    except (OSError, ValueError):
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def load(ca: str | None, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """Make a client's context: TLS 1.2 at least, and the server's name checked unless `ca` is None.

    Raises ValueError for a file that is missing, unreadable or not what it should be.
    """
    if key is not None and cert is None:
        raise ValueError(f"key={key!r} is of no use without cert=, the certificate it belongs to")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if ca is None else _trusting(ca)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        _show(context, cert, key)
    return context


def _trusting(ca: str) -> ssl.SSLContext:
    if Path(ca).is_dir():
        return ssl.create_default_context(capath=ca)
    if _CERTIFICATE not in _read("ca", ca):
        raise ValueError(f"ca={ca!r} has no certificate in it: the authority's is wanted, as PEM")
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ValueError(f"ca={ca!r} cannot be loaded ({_words(error)}): is it whole?") from error


def _show(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Load the client's own certificate, and look why if that fails."""
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase(key or cert))
    except OSError as error:
        _look(cert, key)
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise ValueError(
                f"the key in {key or cert!r} does not belong to the certificate in {cert!r}: "
                "give the two that were made together"
            ) from error
        raise ValueError(
            f"cert={cert!r} and key={key!r} cannot be loaded ({_words(error)}): are they whole?"
        ) from error


def _look(cert: str, key: str | None) -> None:
    """Raise ValueError for the file that is not what it should be."""
    if _CERTIFICATE not in _read("cert", cert):
        raise ValueError(f"cert={cert!r} has no certificate in it: the client's is wanted, as PEM")
    if key is None:
        if _KEY not in _read("cert", cert):
            raise ValueError(f"cert={cert!r} has no private key in it: give its file as key=")
    elif _KEY not in _read("key", key):
        raise ValueError(
            f"key={key!r} has no private key in it: the certificate's is wanted, as PEM"
        )


def _read(name: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{name}={file!r} cannot be read: {why}") from error


def _no_passphrase(file: str) -> Callable[[], str]:
    def refuse() -> str:
        raise ValueError(
            f"the key in {file!r} has a passphrase, which nobody is there to enter: "
            "give one without (openssl pkey -in it -out another)"
        )

    return refuse


def _words(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)
