"""Keys of providers, taken out of what the worker says: a provider's library may quote one in an error."""

from __future__ import annotations

import os
import re

# In a variable's name; what it holds is a key, or has one in it.
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD|_PROXY", re.IGNORECASE)
_FEWEST_CHARACTERS = 8
# What looks like a key is none of ours, and may be somebody's.
_KEY = re.compile(r"\b(sk|key|Bearer)[-_ ][A-Za-z0-9_-]{8,}")


def without_keys(text: str) -> str:
    """The same text without the keys of this process's environment, and without what looks like a key.

    >>> without_keys("Illegal header value b'Bearer sk-0123456789'")
    "Illegal header value b'Bearer-...'"
    """
    for name, value in os.environ.items():
        key = value.strip()
        if _SECRET.search(name) and len(key) >= _FEWEST_CHARACTERS:
            text = text.replace(key, f"({name})")
    return _KEY.sub(r"\1-...", text)


def take_keys_out(error: BaseException | None) -> None:
    """Take keys out of what an error says, and of what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(without_keys(one) if isinstance(one, str) else one for one in error.args)
        error = error.__cause__ or error.__context__
