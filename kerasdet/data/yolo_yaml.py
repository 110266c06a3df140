"""Reads the yaml of a YOLO data set: the names of its classes, and which photos its parts are."""

import os
import re

import yaml

from kerasdet.data import files
from kerasdet.data.folder import is_hidden, part_of

YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
# More classes than any data set has; a number beyond is a slip that would fill the memory.
_MOST = 100_000


class _Text(yaml.SafeLoader):
    """YAML in which `no`, `yes`, `on` and `off` are text: they are names of classes."""


_Text.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def is_yaml(path):
    """Whether a yaml file describes a data set: it has names or a number of classes."""
    try:
        content = yaml.load(files.text(path), _Text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and bool({"names", "nc"} & set(content))


def find(path):
    """The path of the yaml at a path, or None."""
    if os.path.isfile(path):
        return path
    usual = [os.path.join(path, name) for name in YAMLS if os.path.isfile(os.path.join(path, name))]
    if usual:
        return usual[0]
    found = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.lower().endswith((".yaml", ".yml"))]
    found = [name for name in found if not is_hidden(os.path.basename(name)) and is_yaml(name)]
    if len(found) > 1:
        raise ValueError(
            f"{path} holds several data sets, {', '.join(map(os.path.basename, found))}: give one of them."
        )
    return found[0] if found else None


def content(source):
    """What a yaml holds, a dict."""
    try:
        held = yaml.load(files.text(source), _Text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(held, dict):
        raise ValueError(f"{source} needs the keys train, val and names, but holds {held!r}.")
    if "kpt_shape" in held:
        raise ValueError(f"{source} holds keypoints (kpt_shape), which are read from COCO files only; convert it.")
    return held


def names(held, source):
    """The names in the order of the ids 0, 1 ...; the ids themselves if there are no names."""
    names, count = held.get("names"), held.get("nc")
    if isinstance(names, dict):
        try:
            names = {int(number): name for number, name in names.items()}
        except (TypeError, ValueError):
            raise ValueError(f"{source}: the keys of names must be 0, 1 ...; they are {list(names)}.") from None
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{source}: the keys of names must be 0, 1 ... without a gap; they are {sorted(names)}.")
        names = [names[number] for number in range(len(names))]
    if names is None and isinstance(count, int):
        names = range(min(count, _MOST))
    if not isinstance(names, (list, range)):
        raise ValueError(f"{source} needs names, a list or a dict of number to name, but holds {names!r}.")
    if count not in (None, len(names)):
        raise ValueError(f"{source}: nc is {count}, but there are {len(names)} names.")
    wrong = next((name for name in names if isinstance(name, (dict, list)) or name is None), "")
    if wrong != "":
        raise ValueError(f"{source}: a name must be text, not {wrong!r}.")
    return [str(name) for name in names]


def splits(held):
    """Names of the parts of what a yaml holds."""
    return [name for name, keys in _SPLITS.items() if any(held.get(key) for key in keys)]


def entries(held, split, source):
    """What a yaml lists for a part.

    Args:
        held: what `content` returned.
        split: name of the part.
        source: path of the yaml.

    Yields:
        The path of a folder of pictures, or a list of the paths of pictures.
    """
    split = part_of(split or "") or split
    if split not in splits(held):
        raise ValueError(f"{source} has the splits {splits(held)}; split={split!r} is none of them.")
    entry = next(held[key] for key in _SPLITS[split] if held.get(key))
    here, root = os.path.dirname(source), held.get("path")
    roots = (os.path.join(here, root if isinstance(root, str) else ""), here)
    for part in entry if isinstance(entry, list) else [entry]:
        path = _entry(str(part), roots)
        if path is None:
            first = os.path.normpath(os.path.join(roots[0], str(part)))
            raise FileNotFoundError(f"{source}: {split} is {part}, but {first} does not exist.")
        yield path if os.path.isdir(path) else listed(path, roots)


def _entry(part, roots):
    """What a yaml means by the path of a part: relative to the yaml or its root, or a path of another computer."""
    parts = [one for one in re.split(r"[\\/]+", part) if one not in ("", ".")]
    tails = [part, *(os.path.join(*parts[first:]) for first in range(len(parts)))]
    for tail in tails:
        for root in roots:
            candidate = os.path.normpath(os.path.join(root, tail))
            if os.path.exists(candidate) and os.path.normpath(root) != candidate:
                return candidate
    return None


def listed(path, roots):
    """The pictures of a list, whose lines are relative to it, or to a root of the data set, or paths of elsewhere."""
    lines = [line.strip() for line in files.text(path).splitlines() if line.strip()]
    roots = (os.path.dirname(path), *roots)
    found = [_entry(line, roots) for line in lines]
    plain = [os.path.normpath(os.path.join(roots[0], line)) for line in lines]
    return [one or other for one, other in zip(found, plain, strict=True)]
