"""How readers handle faults: they refuse the data set or, inside `listed`, collect all faults and continue."""

import contextlib

from kerasdet.data.tally import short

_listed = None


def report(line, kind=ValueError):
    """Raises an error; inside `listed` it returns instead, and the caller leaves out the faulty part.

    Args:
        line: message that names the file and the annotation and says what is wrong.
        kind: type of the exception.

    Raises:
        ValueError: with this message, or the exception of type `kind`.
    """
    if _listed is None:
        raise kind(short(line))
    _listed.append(short(line))


@contextlib.contextmanager
def listed():
    """Makes readers collect faults instead of raising; yields the list of messages. For one reader at a time."""
    global _listed
    before, _listed = _listed, []
    try:
        yield _listed
    finally:
        _listed = before
