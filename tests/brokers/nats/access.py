"""What a server needs so that users may sign in by credentials: an operator, an account, a user, each a JWT."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import nkeys

_KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}


class Identity:
    """A key pair of NATS."""

    def __init__(self, kind: str) -> None:
        prefix = _KINDS[kind]
        raw = bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + os.urandom(32)
        raw += _crc(raw).to_bytes(2, "little")
        self.seed = base64.b32encode(raw).rstrip(b"=")
        self.kind = kind
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def jwt(self, by: Identity, **claims: Any) -> str:
        """Return the token that says who this is, signed."""
        content = {
            "jti": os.urandom(8).hex(),
            "iat": int(time.time()),
            "iss": by.public,
            "name": self.kind,
            "sub": self.public,
            "nats": {"type": self.kind, "version": 2, **claims},
        }
        body = ".".join(
            _b64(json.dumps(each).encode()) for each in ({"typ": "JWT", "alg": "ed25519-nkey"}, content)
        )
        return f"{body}.{_b64(by._pair.sign(body.encode()))}"


def operated() -> tuple[str, str]:
    """Return a server's settings, and the text of a .creds file of a user who may do anything."""
    operator, account, system, user = map(Identity, ("operator", "account", "account", "user"))
    limits = {
        **dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1),
        **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1),
        "wildcards": True,
    }
    plain = {name: value for name, value in limits.items() if "storage" not in name and name != "streams"}
    of_user = {"subs": -1, "data": -1, "payload": -1}
    settings = (
        f"operator: {operator.jwt(operator, system_account=system.public)}\n"
        f"system_account: {system.public}\n"
        "resolver: MEMORY\n"
        "resolver_preload {\n"
        f"  {account.public}: {account.jwt(operator, limits=limits)}\n"
        f"  {system.public}: {system.jwt(operator, limits=plain)}\n"
        "}\n"
    )
    credentials = (
        f"-----BEGIN NATS USER JWT-----\n{user.jwt(account, **of_user)}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return settings, credentials


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _crc(data: bytes) -> int:
    """CRC-16/XMODEM."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
