"""Freezing parts of a model while it trains."""

import contextlib

from kerasdet.weights import names


@contextlib.contextmanager
def frozen(model, patterns):
    """Freezes the weights that match a pattern inside; norms that match completely keep their statistics.

    Args:
        model: a Keras model.
        patterns: shell patterns of the names in `names.weights`, such as "backbone/*".

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    weights, layers = names.weights(model), names.layers(model)
    still = names.chosen(weights, patterns, "freeze")
    before = [(part, part.trainable) for part in (*layers.values(), *weights.values())]
    for path, layer in layers.items():
        inside = [name for name in weights if name.startswith(f"{path}/" if path else "")]
        if inside and all(name in still for name in inside):
            layer.trainable = False
    for name in still:
        weights[name].trainable = False
    try:
        if not model.trainable_variables:
            raise ValueError(f"freeze={tuple(patterns)} leaves nothing to train.")
        yield
    finally:
        # Outer layers come first: setting one sets all inside it.
        for part, trainable in before:
            part.trainable = trainable
