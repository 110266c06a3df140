"""What may be set on a living detector, and the names of its classes."""

import numbers

from kerasdet import images as image
from kerasdet.decoding import suppress

# Arguments that a detector reads whenever it detects, with their least and greatest value.
SETTINGS = {
    "above": (numbers.Real, 0, 1),
    "suppression": (numbers.Real, 0, 1),
    "limit": (numbers.Integral, 1, 100_000),
    "per_level": (numbers.Integral, 1, 1_000_000),
    "per_class": (numbers.Integral, 1, 1_000_000),
}
# Those that have a check of their own.
_OTHERS = ("classes", "resize", "nms")


class Settings:
    """Keeps a constructor's argument and the attribute of its name one value, from which all graphs are made.

    Attributes:
        arguments: dict of the constructor's arguments, as `get_config` saves them.
        changed: dict of what was set beside them, which a constructor fixes for its base.
    """

    @property
    def changed(self):
        return self.__dict__.setdefault("changed_settings", {})

    def __setattr__(self, name, value):
        if self.__dict__.get("completed") and name != "name" and name in type(self).parameters:
            value = self._set(name, value)
        super().__setattr__(name, value)

    def check_settings(self):
        """Checks the numbers that the constructor was given.

        Raises:
            ValueError: one is no such number, or out of range.
        """
        for name in SETTINGS:
            if name in type(self).parameters and hasattr(self, name):
                _check(name, getattr(self, name))

    def _set(self, name, value):
        if name not in SETTINGS and name not in _OTHERS:
            raise AttributeError(
                f"{type(self).__name__}.{name} is fixed when it is constructed; for another value make another: "
                f"from_config({{**model.get_config(), '{name}': …}})."
            )
        if name in SETTINGS:
            _check(name, value)
        elif name == "resize":
            value = image.check_rule(value)
            if self.fixed and value != self.resize:
                raise AttributeError(f"{type(self).__name__} takes one size of image: its resize is fixed.")
        elif name == "nms":
            suppress.check(value, self.predicted)
        else:
            value = names(value)
            if len(value) != self.num_classes:
                raise ValueError(f"classes must be {self.num_classes} names, as the model has, got {len(value)}.")
        # A constructor that gives its base a value of its own does not take another.
        (self.arguments if name in self.arguments else self.changed)[name] = value
        # What was traced knows the old value.
        self.__dict__["revision"] = self.revision + 1
        self.__dict__.pop("graphs", None)
        self.predict_function = None
        return value


def _check(name, value):
    kind, least, most = SETTINGS[name]
    if value is None and name == "per_class":  # all candidates, as in TensorFlow's Object Detection API
        return
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        what = "whole number" if kind is numbers.Integral else "number"
        raise ValueError(f"{name} must be a {what} from {least} to {most}, got {value!r}.")


def names(classes):
    """The names of the classes.

    Args:
        classes: a list or another ordered iterable of names, or their number.

    Returns:
        Tuple of str.

    Raises:
        ValueError: they are no different names, each one line of text, or have no order.
    """
    if isinstance(classes, numbers.Integral) and not isinstance(classes, bool) and classes > 0:
        return tuple(f"class {i}" for i in range(classes))
    wanted = "classes must be a list of one or more different names, or their number"
    if isinstance(classes, (str, bytes)):
        raise ValueError(f"{wanted}, got the text {classes!r}: write [{classes!r}].")
    if isinstance(classes, (set, frozenset)):
        raise ValueError(f"{wanted}; a set has no order: sort it.")
    if isinstance(classes, dict) or not hasattr(classes, "__iter__"):
        raise ValueError(f"{wanted}, in the order of their ids; got {classes!r}.")
    found = list(classes)
    for name in found:
        if not isinstance(name, str):
            raise ValueError(f"{wanted}; {name!r} is no text: write {str(name)!r}.")
        if not name or name != name.strip() or len(name.splitlines()) > 1:
            raise ValueError(f"{wanted}; {name!r} is empty or has spaces or line breaks at its ends: strip it.")
    if not found or len(set(found)) != len(found):
        raise ValueError(f"{wanted}, got {found!r}.")
    return tuple(map(str, found))
