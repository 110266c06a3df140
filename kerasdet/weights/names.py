"""Names of a model's layers and weights that are the same in every process.

Keras numbers the layers that a process makes: `conv_7/kernel` may be `conv_31/kernel` in another. Here a weight is
named by the attributes that lead to it, such as `backbone/stages/0/1/conv2/norm/gamma`.
"""

import fnmatch
import re

import keras


def layers(model):
    """All layers of a model, outer ones first.

    Args:
        model: a Keras model or layer.

    Returns:
        Dict of name to layer; the model itself is "".
    """
    found, seen = {}, set()

    def visit(path, layer):
        if id(layer) not in seen:
            seen.add(id(layer))
            found[path] = layer
            for key, child in _children(layer):
                visit(f"{path}/{key}" if path else key, child)

    visit("", model)
    return found


def weights(model):
    """All weights of a model, without the states of metrics and random seeds.

    Args:
        model: a Keras model or layer.

    Returns:
        Dict of name to variable.
    """
    found, named = {}, set()
    for path, layer in reversed(layers(model).items()):  # inner layers first: what is left is the layer's own
        for variable in layer.weights:
            if id(variable) not in named:
                name = f"{path}/{variable.name}" if path else variable.name
                found[_free(name, found)] = variable
                named.add(id(variable))
    order = {id(variable): i for i, variable in enumerate(model.weights)}
    return dict(sorted(found.items(), key=lambda item: order[id(item[1])]))


def chosen(names, patterns, what):
    """The names that a pattern matches.

    Args:
        names: the names of a model's weights.
        patterns: shell patterns such as "backbone/*".
        what: the argument that holds the patterns, for the message.

    Returns:
        Dict of name to the first pattern that matches it.

    Raises:
        ValueError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            parts = sorted({name.split("/")[0] + "/*" for name in names})
            raise ValueError(f"{what}: {pattern!r} matches no weight of the model; its parts are {', '.join(parts)}.")
    matched = {name: [p for p in patterns if fnmatch.fnmatchcase(name, p)] for name in names}
    return {name: fitting[0] for name, fitting in matched.items() if fitting}


def _children(layer):
    """(key, layer) of the layers that a layer's public attributes hold, in lists and dicts too."""
    found = [pair for key, value in vars(layer).items() if not key.startswith("_") for pair in _inside(key, value)]
    return found or (_of_functional(layer) if isinstance(layer, keras.Model) else [])


def _inside(key, value):
    if isinstance(value, keras.layers.Layer):
        return [(key, value)]
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [pair for inner, entry in entries for pair in _inside(f"{key}/{inner}", entry)]


def _of_functional(model):
    """A functional model's layers by their own names; names that Keras made up are numbered within the model."""
    found = {}
    for layer in model.layers:
        kind = re.sub(r"(.)([A-Z][a-z]+)|(?<=[a-z])(?=[A-Z])", r"\1_\2", type(layer).__name__).lower()
        made_up = re.fullmatch(rf"{kind}(_\d+)?", layer.name)
        found[_free(kind if made_up else layer.name, found)] = layer
    return list(found.items())


def _free(name, taken):
    count = 1
    free = name
    while free in taken:
        free, count = f"{name}_{count}", count + 1
    return free
