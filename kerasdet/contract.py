"""The three dicts that flow through kerasdet (images, objects and detections), and checks of them.

Letters: B images, M objects (padded), D detections (padded), P keypoints, S side of a mask grid.

images
    pixels      [B, H, W, 3] uint8 or float32   RGB 0...255, padded
    windows     [B, 4] float32   the real pixels inside the padding, as a box
    frames      [B, 4] float32   scale x, scale y, offset x, offset y: network = original * scale + offset
    ids         [B] int64        the data set's image id; -1 marks an image that only fills up the last batch
    proposals   [B, R, 4] float32, optional; zero area where padded
objects
    boxes       [B, M, 4] float32   x1, y1, x2, y2, pixels of the network's image; zeros where padded
    classes     [B, M] int32        0...K-1; -1 where padded
    crowds      [B, M] bool         regions that give no class loss and no false positive
    masks       [B, M, S, S] uint8, optional: a grid of 0/1 over the rectangle `mask_frames`
    mask_frames [B, M, 4] float32, with masks
    keypoints   [B, M, P, 3] float32, optional: x, y, visibility 0/1/2
detections
    boxes       [B, D, 4] float32   sorted by score; zeros where padded
    scores      [B, D] float32      0...1; 0 where padded
    classes     [B, D] int32        -1 where padded
    counts      [B] int32           how many of the D are real
    masks       [B, D, S, S] float32, optional: 0...1, a grid over the detection's box
    keypoints   [B, D, P, 3] float32, optional: x, y, score
"""

import numpy as np

_IMAGES = {
    "pixels": (4, {"uint8", "float32"}),
    "windows": (2, {"float32"}),
    "frames": (2, {"float32"}),
    "ids": (1, {"int64"}),
}
_OBJECTS = {"boxes": (3, {"float32"}), "classes": (2, {"int32"}), "crowds": (2, {"bool"})}
_OPTIONAL = {
    "proposals": (3, {"float32"}),
    "masks": (4, {"uint8"}),
    "mask_frames": (3, {"float32"}),
    "keypoints": (4, {"float32"}),
}

_BOX = "a box is x1, y1, x2, y2 in pixels of the network's image"


def check(images, objects=None):
    """Checks the keys, ranks and dtypes of a batch.

    Args:
        images: dict of tensors, see the module docstring.
        objects: dict of tensors, or None.

    Raises:
        ValueError: a key is missing or unknown, or has the wrong rank or dtype.
    """
    for name, batch, required in (("images", images, _IMAGES), ("objects", objects, _OBJECTS)):
        if batch is None:
            continue
        for key in required:
            if key not in batch:
                raise ValueError(f"{name} has no '{key}'; it holds {sorted(batch)}. See kerasdet/contract.py.")
        for key, tensor in batch.items():
            rank, dtypes = {**required, **_OPTIONAL}.get(key, (None, None))
            if rank is None:
                raise ValueError(f"{name} has an unknown key '{key}'. See kerasdet/contract.py.")
            if not hasattr(tensor, "dtype"):
                raise ValueError(f"{name}['{key}'] must be a tensor or an array, got a {type(tensor).__name__}.")
            dtype = getattr(tensor.dtype, "name", str(tensor.dtype))
            if len(tensor.shape) != rank or dtype not in dtypes:
                raise ValueError(
                    f"{name}['{key}'] must have rank {rank} and dtype {' or '.join(sorted(dtypes))}, "
                    f"got shape {tuple(tensor.shape)} and dtype {dtype}."
                )


def check_values(images, objects, num_classes):
    """Checks the numbers of a batch that has passed `check`; images of id -1 may hold any.

    Args:
        images: dict of arrays, see the module docstring.
        objects: dict of arrays.
        num_classes: K.

    Raises:
        ValueError: sizes differ, or a number cannot be; one line names the key and the image, and says what to do.
    """
    images, objects = ({key: np.asarray(value) for key, value in part.items()} for part in (images, objects))
    count, (batch, height, width) = objects["classes"].shape[1], images["pixels"].shape[:3]
    for name, part, most in (("images", images, 1), ("objects", objects, 2)):
        for key, values in part.items():
            if values.shape[:most] != (batch, count)[:most]:
                raise ValueError(
                    f"{name}['{key}'] must begin with {(batch, count)[:most]}, as many as there are "
                    f"{'images and objects' if most > 1 else 'images'}; got shape {values.shape}."
                )
    real = images["ids"] >= 0
    pixels = images["pixels"][real]
    if pixels.size and not (pixels.min() >= -1 and pixels.max() <= 256):
        raise ValueError(
            f"images['pixels'] must be RGB 0...255, got {pixels.min():g}...{pixels.max():g}; the detector normalizes."
        )
    if pixels.size and 0 < pixels.max() <= 1:
        raise ValueError("images['pixels'] must be RGB 0...255, got 0...1: multiply by 255; the detector normalizes.")
    for i in np.flatnonzero(real):
        where = f"of image {images['ids'][i]}"
        x1, y1, x2, y2 = window = images["windows"][i]
        if not (-1 <= x1 < x2 <= width + 1 and -1 <= y1 < y2 <= height + 1):
            raise ValueError(
                f"images['windows'] {where} must be a box x1, y1, x2, y2 in its {height} x {width} pixels, got "
                f"{window.tolist()}."
            )
        if not (np.isfinite(images["frames"][i]).all() and (images["frames"][i][:2] > 0).all()):
            raise ValueError(
                f"images['frames'] {where} must be scale x, scale y, offset x, offset y, got "
                f"{images['frames'][i].tolist()}."
            )
        _check_objects(where, objects["boxes"][i], objects["classes"][i], num_classes, height, width)
    boxes = objects["boxes"][real][objects["classes"][real] >= 0]
    if len(boxes) and boxes.max() <= 1 and min(height, width) > 1:
        raise ValueError(f"objects['boxes'] are fractions such as {boxes[0].tolist()}: {_BOX}.")


def _check_objects(where, boxes, classes, num_classes, height, width):
    wrong = classes[(classes < -1) | (classes >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"objects['classes'] {where} has {wrong[0]}: the ids of {num_classes} classes are 0...{num_classes - 1}, "
            "and -1 where padded; count from 0."
        )
    for box in boxes[classes >= 0]:
        x1, y1, x2, y2 = box
        if not (np.isfinite(box).all() and x1 < x2 and y1 < y2):
            raise ValueError(f"objects['boxes'] {where} has {box.tolist()}: {_BOX}, with x1 < x2 and y1 < y2.")
        if not (x1 < width and y1 < height and x2 > 0 and y2 > 0):
            raise ValueError(f"objects['boxes'] {where} has {box.tolist()} outside of {height} x {width}: {_BOX}.")
