"""Starting from the weights of another model."""

import pathlib

from kerasdet import load as loading
from kerasdet.weights import copy, names


def load(model, source):
    """Loads the weights of a run, a `.keras` file or a `.weights.h5` file.

    Args:
        model: a `Detector`.
        source: a run folder or `.keras` file of any detector; or the path of what `save_weights` of this model wrote;
            or a dict of patterns such as "backbone/*" to run folders and `.keras` files: each weight comes from the
            first that fits, and stays as it is where none does.

    Returns:
        Dict of the name of each tensor, of either model, to what was done with it; see `weights.copy.by_name`.

    Raises:
        FileNotFoundError: nothing lies there.
        ValueError: a weights file is of another model, no tensor fits, or a pattern matches nothing.
    """
    if isinstance(source, dict):
        return _load_parts(model, source)
    if str(source).endswith(".h5"):
        return copy.by_name(_twin(model, source), model, source)
    return copy.by_name(loading.load(source), model, source)


def _load_parts(model, sources):
    weights = names.weights(model)
    first = names.chosen(weights, sources, "init_from")
    done = dict.fromkeys(weights, copy.MISSING)
    for pattern, source in sources.items():
        own = {name for name, fitting in first.items() if fitting == pattern}
        if own:
            done.update(copy.by_name(loading.load(source), model, source, own))
    return done


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
