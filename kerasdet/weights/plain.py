"""A detector as plain data, which names no code but the class that it is of."""

from collections.abc import Callable
from typing import NamedTuple


class PlainDetector(NamedTuple):
    """What a preset or a released file holds; `Detector.from_preset` makes the detector.

    detector: name of its class.
    arguments: of the class, a dict without `classes`.
    classes: names of the classes.
    tensors: dict of the name of each weight, as in `names.weights`, to its array; of a file with other names or none, a
        function that copies its tensors into the model.
    source: the file, for messages.
    used: names of the classes that the detector has; None for all of `classes`.
    """

    detector: str
    arguments: dict
    classes: list
    tensors: dict | Callable
    source: str
    used: list | None = None
