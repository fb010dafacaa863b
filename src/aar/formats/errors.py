"""Errors of the formats: one class per format, all of them `FormatError`."""


class FormatError(ValueError):
    """Bytes or a value that no writer of ours would have produced."""


class MalformedJSON(FormatError):
    """Not the canonical JSON of an entry."""


class MalformedKey(FormatError):
    """Not a key, or one that must not be trusted."""


class MalformedNote(FormatError):
    """Not a C2SP signed note."""


class MalformedSignature(MalformedNote):
    """A note in which one signature cannot be read; its text can."""


class UnverifiedNote(FormatError):
    """A note without a good signature of a known key, or with a bad one."""


class MalformedCheckpoint(FormatError):
    """Not a C2SP tlog-checkpoint."""


class MalformedTile(FormatError):
    """Not a C2SP tlog-tiles resource."""


class MalformedEntry(FormatError):
    """Not an entry of a record."""


class MalformedProof(FormatError):
    """Not a C2SP tlog-proof."""


class MalformedBookmark(FormatError):
    """Not a bookmark of a reader."""


class MalformedPolicy(FormatError):
    """Not a C2SP tlog-policy."""


class MalformedBody(FormatError):
    """An entry's body is not of the shape of its kind."""
