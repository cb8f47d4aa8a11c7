"""What may be shown of a URL that has a password in it."""

from __future__ import annotations

import re

_SECRET = re.compile(r"(?i)((?:password|secret|passphrase)[a-z_]*=)[^&#\s]*")


def redacted(url: str) -> str:
    """Return the URL with ``***`` for each password, also where it isn't well formed."""
    scheme, separator, rest = url.partition("://")
    if not separator and "@" in url:  # no URL: a password may stand anywhere before the host
        return f"***@{url.rpartition('@')[2]}"
    before, at, after = rest.rpartition("@")
    if at:
        user, colon, _ = before.partition(":")
        rest = f"{user}{':***' if colon else ''}@{after}"
    return _SECRET.sub(r"\1***", f"{scheme}{separator}{rest}")
