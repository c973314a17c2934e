"""Certificates made for a test: authorities, servers and clients, as PEM files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from etcd_recipes.testing import Tls

__all__ = ["Authority"]


class Authority:
    """An authority with its files in `folder`, which is made if need be."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.ca = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *identities: str, **options: Any) -> tuple[str, str]:
        """Give the files of a certificate and its key; without `identities` it is for this machine."""
        issued = self._ca.issue_cert(*(identities or ("127.0.0.1", "localhost")), **options)
        cert, key = str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key")
        Path(cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def expired(self, name: str) -> tuple[str, str]:
        """Give a certificate that was good until yesterday."""
        now = datetime.now(UTC)
        past, yesterday = now - timedelta(days=9), now - timedelta(days=1)
        return self.issue(name, not_before=past, not_after=yesterday)

    def server(self, *, client_auth: bool = False) -> Tls:
        """Give what a server needs; it trusts the clients of the same authority."""
        cert, key = self.issue("server")
        return Tls(ca=self.ca, cert=cert, key=key, client_auth=client_auth)
