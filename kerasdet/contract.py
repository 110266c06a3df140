"""The three dicts that flow through kerasdet (images, objects and detections), and a check of them.

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
            dtype = getattr(tensor.dtype, "name", str(tensor.dtype))
            if len(tensor.shape) != rank or dtype not in dtypes:
                raise ValueError(
                    f"{name}['{key}'] must have rank {rank} and dtype {' or '.join(sorted(dtypes))}, "
                    f"got shape {tuple(tensor.shape)} and dtype {dtype}."
                )
