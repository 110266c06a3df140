"""What a reader does about a fault: it refuses the data set, or, where all faults are wanted, lists it and reads on."""

import contextlib

_listed = None


def report(line, kind=ValueError):
    """Refuses; inside `listed` it returns, and the caller leaves out what is at fault.

    Args:
        line: names the file and the annotation, says what is wrong.
        kind: of the exception.

    Raises:
        ValueError: the line, or another `kind`.
    """
    if _listed is None:
        raise kind(line)
    _listed.append(line)


@contextlib.contextmanager
def listed():
    """Inside, readers list what they would refuse; gives the list of lines. One reading at a time."""
    global _listed
    before, _listed = _listed, []
    try:
        yield _listed
    finally:
        _listed = before
