"""Who signs in, and how the connection is encrypted: the client's options, read from files."""

from __future__ import annotations

import importlib
import ssl
from pathlib import Path
from typing import Any

from nats.aio.client import RawCredentials

from reactor.connectors.brokers import Address
from reactor.connectors.nats.settings import Nats

_TOKEN_BEGINS = "-----BEGIN NATS USER JWT-----"
_SEED_BEGINS = "-----BEGIN USER NKEY SEED-----"


def options(address: Address, settings: Nats) -> dict[str, Any]:
    """Return the client's options. Reads files: call it on a thread. Raises OSError and ValueError."""
    found: dict[str, Any] = {}
    if settings.encrypted:
        found["tls"] = _context(settings)
        if settings.tls_hostname is not None:
            found["tls_hostname"] = settings.tls_hostname
    if settings.credentials is not None:
        found["user_credentials"] = RawCredentials(_credentials(settings.credentials))
    elif settings.nkey is not None:
        found["nkeys_seed_str"] = _checked(Path(settings.nkey).read_text().strip(), "nkey", settings.nkey)
    elif settings.token is not None:
        found["token"] = settings.token
    elif address.password is not None:
        found["user"], found["password"] = address.user, address.password
    return found


def _context(settings: Nats) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def _credentials(path: str) -> str:
    text = Path(path).read_text()
    # The client would look for the first of these for ever.
    lines = text.splitlines()
    if _TOKEN_BEGINS not in lines[:-1] or _SEED_BEGINS not in lines[:-1]:
        raise ValueError(f"credentials: {path} has no user's JWT and seed")
    _checked(lines[lines.index(_SEED_BEGINS) + 1], "credentials", path)
    return text


def _checked(seed: str, option: str, path: str) -> str:
    nkeys: Any = importlib.import_module("nkeys")  # it has no types
    try:
        nkeys.from_seed(bytearray(seed.encode())).wipe()
    except Exception:
        raise ValueError(f"{option}: the seed in {path} isn't one") from None  # its error might show it
    return seed
