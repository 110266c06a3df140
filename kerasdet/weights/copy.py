"""Copying weights between two models: by name, and in class heads by the names of the classes."""

import collections

import numpy as np

from kerasdet.weights import names

LOADED, PARTLY, MISMATCHED = "loaded", "by class name", "other shape"
MISSING, UNUSED = "not in the source", "not needed"


def by_name(source, target, name="the source", only=None):
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
        elif (head := key.rpartition("/")[0]) in target.class_heads:
            rest = target.class_rest if source.class_rest == target.class_rest else 0
            done[key] = _copy_classes(other, variable, source.outputs_of(head), target.outputs_of(head), rest)
        elif tuple(other.shape) != tuple(variable.shape):
            done[key] = MISMATCHED
        else:
            variable.assign(other)
            done[key] = LOADED
    if not {LOADED, PARTLY} & set(done.values()):
        raise ValueError(f"no tensor of {name} fits this model; they are of different kinds.")
    return {**done, **({} if only else dict.fromkeys(theirs, UNUSED))}


def for_classes(source, classes, name="the source", quiet=False):
    """Makes the same detector for other classes, and prints what was loaded, skipped and left out.

    Args:
        source: a `Detector`.
        classes: names of the classes, or their number.
        name: of the source, for the message.
        quiet: whether nothing is printed.

    Returns:
        A `Detector` whose class heads are new but for the outputs of classes that stay by name.
    """
    model = type(source).from_config({**source.get_config(), "classes": classes})
    done = by_name(source, model, name)
    if not quiet:
        print(table(done, name))
    return model


def table(done, source):
    """What `by_name` did, as text: a line for each part of the model, and one for each tensor that was not loaded.

    Args:
        done: of `by_name`.
        source: where the weights come from, or a dict of patterns to where.
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


def _copy_classes(source, target, theirs, ours, rest=0):
    """Copies the outputs of the classes that both know: the last axis is [anchors a cell * outputs], and a rest."""
    old, new = np.asarray(source), np.array(target)
    (old, behind), (new, _) = (np.split(one, [one.shape[-1] - rest], axis=-1) for one in (old, new))
    if old.shape[-1] % len(theirs):
        return MISMATCHED
    old = old.reshape(*old.shape[:-1], -1, len(theirs))
    grouped = new.reshape(*new.shape[:-1], -1, len(ours))
    if old.shape[:-1] != grouped.shape[:-1]:
        return MISMATCHED
    shared = [name for name in ours if name in theirs]
    grouped[..., [ours.index(name) for name in shared]] = old[..., [theirs.index(name) for name in shared]]
    target.assign(np.concatenate([grouped.reshape(new.shape), behind], axis=-1))
    return LOADED if tuple(theirs) == tuple(ours) else PARTLY if shared else MISSING
