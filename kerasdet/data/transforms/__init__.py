"""Augmentations of one picture and its objects.

A sample is a dict with `pixels` [H, W, 3] uint8 or float32, the unbatched entries of the objects dict, and
`proposals` [R, 4], if any. A transform takes the sample, a seed [2] int32 and its settings, and returns the changed
sample. The same seed gives the same change.
A pipeline lists its transforms as tuples: `("flip", 0.5)` calls `flip(sample, seed, 0.5)`.

`geometry` moves pixels without resampling, `crops` changes scale and visible part, `color` changes colors, and
`mixing` joins several pictures.
"""

import inspect

import tensorflow as tf

from kerasdet.data.transforms.color import color, distort, hsv, photometric
from kerasdet.data.transforms.crops import expand, jitter, jitter_sides, sample_crop, scale_jitter, zoom
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
    "jitter": jitter,
    "jitter_sides": jitter_sides,
    "sample_crop": sample_crop,
    "color": color,
    "distort": distort,
    "hsv": hsv,
    "photometric": photometric,
    "mosaic": mosaic,
    "mixup": mixup,
}
# These take an extra argument before their settings: a function from a seed to another sample.
MIXING = ("mosaic", "mixup")


def apply(sample, transforms, seed, draw=None):
    """Applies transforms in order, each with its own seed.

    Args:
        sample: the sample dict.
        transforms: tuples of a transform's name and its settings.
        seed: [2] int32.
        draw: function from a seed [2] int32 to another sample, for transforms that mix pictures; the pictures that are
            mixed in go through the earlier transforms.

    Returns:
        The changed sample.

    Raises:
        ValueError: a name or a setting is unknown, or `draw` is missing.
    """
    for i, (name, *settings) in enumerate(transforms):
        transform = _checked(name, settings, draw)
        step_seed = tf.random.fold_in(seed, i)
        if name in MIXING:

            def another(seed, earlier=transforms[:i]):
                return apply(draw(seed), earlier, seed, draw)

            settings = [another, *settings]
        sample = transform(sample, step_seed, *settings)
    return sample


def _checked(name, settings, draw):
    """The transform with this name, if it accepts the settings."""
    if name not in TRANSFORMS:
        raise ValueError(f"transforms must be some of {sorted(TRANSFORMS)}, got {name!r}.")
    if name in MIXING and draw is None:
        raise ValueError(f"{name} mixes pictures of a data set; give `draw`, as `pipeline.load` does.")
    arguments = ["sample", "seed", *(["another"] if name in MIXING else []), *settings]
    try:
        inspect.signature(TRANSFORMS[name]).bind(*arguments)
    except TypeError as error:
        names = list(inspect.signature(TRANSFORMS[name]).parameters)[len(arguments) - len(settings) :]
        raise ValueError(f"transform {name!r} takes the settings {names}, got {settings}: {error}.") from error
    return TRANSFORMS[name]
