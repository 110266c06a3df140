"""Starting from the weights of another model: by name, and in class heads by the names of the classes."""

import collections
import pathlib

import numpy as np

from kerasdet import runs
from kerasdet.training import names

LOADED, PARTLY, MISMATCHED = "loaded", "by class name", "other shape"
MISSING, UNUSED = "not in the source", "not needed"


def load(model, source):
    """Loads the weights of a run, a `.keras` file or a `.weights.h5` file.

    Args:
        model: a `Detector`.
        source: a run folder or `.keras` file of any detector; or the path of what `save_weights` of this model wrote;
            or a dict of patterns such as "backbone/*" to run folders and `.keras` files: each weight comes from the
            first that fits, and stays as it is where none does.

    Returns:
        Dict of the name of each tensor, of either model, to what was done with it; see `copy`.

    Raises:
        FileNotFoundError: nothing lies there.
        ValueError: a weights file is of another model, no tensor fits, or a pattern matches nothing.
    """
    if isinstance(source, dict):
        return _load_parts(model, source)
    if str(source).endswith(".h5"):
        return copy(_twin(model, source), model, source)
    return copy(runs.load(source), model, source)


def copy(source, target, name="the source", only=None):
    """Copies weights between two detectors, by the attributes that lead to them.

    In class heads the outputs of classes with equal names are copied and those of other classes stay as they are.

    Args:
        source, target: `Detector`s.
        name: of the source, for the message.
        only: None, or names of the weights to copy.

    Returns:
        Dict of the name of each tensor to `LOADED`, `PARTLY`, `MISMATCHED`, `MISSING` or `UNUSED`.

    Raises:
        ValueError: no tensor fits.
    """
    theirs, done = names.weights(source), {}
    for key, variable in names.weights(target).items():
        other = theirs.pop(key, None)
        if only is not None and key not in only:
            continue
        if other is None:
            done[key] = MISSING
        elif key.rpartition("/")[0] in target.class_heads:
            done[key] = _copy_classes(other, variable, source.class_outputs, target.class_outputs)
        elif tuple(other.shape) != tuple(variable.shape):
            done[key] = MISMATCHED
        else:
            variable.assign(other)
            done[key] = LOADED
    if not {LOADED, PARTLY} & set(done.values()):
        raise ValueError(f"init_from: no tensor of {name} fits this model; they are of different kinds.")
    return {**done, **({} if only else dict.fromkeys(theirs, UNUSED))}


def table(done, source):
    """What `load` did, as text: a line for each part of the model, and one for each tensor that was not loaded.

    Args:
        done: of `load`.
        source: where the weights come from.
    """
    if isinstance(source, dict):
        source = ", ".join(f"{one} for {pattern}" for pattern, one in source.items())
    counts = collections.Counter(done.values())
    lines = [f"weights of {source}: " + ", ".join(f"{count} {state}" for state, count in counts.most_common())]
    for part in dict.fromkeys(key.split("/")[0] for key in done):
        inside = [state for key, state in done.items() if key.split("/")[0] == part]
        lines.append(f"  {part + '/*':32s} {inside.count(LOADED)} of {len(inside)} loaded")
        lines += [f"    {k:60s} {s}" for k, s in done.items() if k.split("/")[0] == part and s != LOADED]
    return "\n".join(lines)


def _load_parts(model, sources):
    weights = names.weights(model)
    first = names.chosen(weights, sources, "init_from")
    done = dict.fromkeys(weights, MISSING)
    for pattern, source in sources.items():
        own = {name for name, fitting in first.items() if fitting == pattern}
        if own:
            done.update(copy(runs.load(source), model, source, own))
    return done


def _copy_classes(source, target, theirs, ours):
    """Copies the outputs of the classes that both know: the last axis is [anchors a cell * outputs]."""
    old, new = np.asarray(source), np.array(target)
    old = old.reshape(*old.shape[:-1], -1, len(theirs))
    grouped = new.reshape(*new.shape[:-1], -1, len(ours))
    if old.shape[:-1] != grouped.shape[:-1]:
        return MISMATCHED
    shared = [name for name in ours if name in theirs]
    grouped[..., [ours.index(name) for name in shared]] = old[..., [theirs.index(name) for name in shared]]
    target.assign(grouped.reshape(target.shape))
    return LOADED if tuple(theirs) == tuple(ours) else PARTLY if shared else MISSING


def _twin(model, weights):
    if not pathlib.Path(weights).is_file():
        raise FileNotFoundError(f"{weights}: no weights file there.")
    twin = type(model).from_config(model.get_config())
    try:
        twin.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{weights} is no weights file of this model ({reason}); a run folder or .keras file may be of another."
        ) from None
    return twin
