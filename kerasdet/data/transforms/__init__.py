"""Augmentations of one picture and its objects.

A sample is a dict of `pixels` [H, W, 3] uint8 or float32, of the unbatched entries of the objects dict, and of
`proposals` [R, 4] where there are some. A transform
takes the sample, a seed [2] int32 and its settings, and returns the changed sample; the same seed gives the same
change.
A pipeline names its transforms as tuples: `("flip", 0.5)` calls `flip(sample, seed, 0.5)`.

`geometry` moves pixels as they are, `crops` changes the scale and the part of the picture that is seen, `color` its
colors, and `mixing` makes one picture of several.
"""

import inspect

import tensorflow as tf

from kerasdet.data.transforms.color import color, hsv, photometric
from kerasdet.data.transforms.crops import expand, sample_crop, scale_jitter, zoom
from kerasdet.data.transforms.geometry import VISIBLE, crop, flip, flip_vertical, moved, rotate, window
from kerasdet.data.transforms.mixing import mixup, mosaic

__all__ = ["MIXING", "TRANSFORMS", "VISIBLE", "apply", "crop", "moved"]

TRANSFORMS = {
    "flip": flip,
    "flip_vertical": flip_vertical,
    "rotate": rotate,
    "window": window,
    "zoom": zoom,
    "scale_jitter": scale_jitter,
    "expand": expand,
    "sample_crop": sample_crop,
    "color": color,
    "hsv": hsv,
    "photometric": photometric,
    "mosaic": mosaic,
    "mixup": mixup,
}
# These take a function from a seed to another sample before their settings.
MIXING = ("mosaic", "mixup")


def apply(sample, transforms, seed, draw=None):
    """Runs transforms in order, each with a seed of its own.

    Args:
        sample: the sample dict.
        transforms: tuples of a transform's name and its settings.
        seed: [2] int32.
        draw: function from a seed [2] int32 to another sample, for what mixes pictures; those that are mixed in go
            through the transforms before it.

    Returns:
        The changed sample.

    Raises:
        ValueError: a name or a setting is unknown, or there is nothing to draw from.
    """
    for i, (name, *settings) in enumerate(transforms):
        change = _checked(name, settings, draw)
        own = tf.random.fold_in(seed, i)
        if name in MIXING:

            def another(seed, before=transforms[:i]):
                return apply(draw(seed), before, seed, draw)

            settings = [another, *settings]
        sample = change(sample, own, *settings)
    return sample


def _checked(name, settings, draw):
    """The function of a name, if it takes the settings."""
    if name not in TRANSFORMS:
        raise ValueError(f"transforms must be some of {sorted(TRANSFORMS)}, got {name!r}.")
    if name in MIXING and draw is None:
        raise ValueError(f"{name} mixes pictures of a data set; give `draw`, as `pipeline.load` does.")
    given = ["sample", "seed", *(["another"] if name in MIXING else []), *settings]
    try:
        inspect.signature(TRANSFORMS[name]).bind(*given)
    except TypeError as error:
        names = list(inspect.signature(TRANSFORMS[name]).parameters)[len(given) - len(settings) :]
        raise ValueError(f"transform {name!r} takes the settings {names}, got {settings}: {error}.") from error
    return TRANSFORMS[name]
