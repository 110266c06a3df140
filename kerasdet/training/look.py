"""Pictures of a training batch: what the network gets, with the anchors that take each object."""

import os

import numpy as np

from kerasdet import draw
from kerasdet.decoding.paste import paste
from kerasdet.training import reach

_GREEN, _RED = (0, 170, 60), (230, 30, 30)


def draw_batch(images, objects, names, folder, model=None, skeleton=()):
    """Draws each picture of a batch as the network gets it, with the masks and keypoints that it has.

    Args:
        images, objects: the dicts of `contract`, of tensors or arrays.
        names: [K] class names.
        folder: where the pictures go, as ID_PLACE.png; made if needed.
        model: a `Detector`, whose anchors, if any, are drawn: green those that learn an object, by its own `match`; red
            the objects that none reaches.
        skeleton: as in `draw.boxes`.

    Returns:
        List of paths.
    """
    os.makedirs(folder, exist_ok=True)
    found = None if model is None else model.match(objects, images)
    learning = None if found is None else reach.learning(*found)
    paths = []
    for i, pixels in enumerate(np.nan_to_num(np.asarray(images["pixels"], np.float32))):
        own, kinds = np.asarray(objects["boxes"][i]), np.asarray(objects["classes"][i])
        sound = np.isfinite(own).all(1) & (kinds >= 0)
        picture = pixels if found is None else draw.outline(pixels, learning[i], _GREEN, width=1)
        more = {"keypoints": np.asarray(objects["keypoints"][i])[sound]} if "keypoints" in objects else {}
        if "masks" in objects:
            grids, frames = (np.asarray(objects[key][i])[sound] for key in ("masks", "mask_frames"))
            more["masks"] = paste(grids, frames, *pixels.shape[:2])
        picture = draw.boxes(picture, own[sound], kinds[sound], names, skeleton=skeleton, **more)
        if found is not None:
            wanted = own[sound & ~np.asarray(objects["crowds"][i])]
            missed = reach.best_overlaps(wanted, learning[i]) < model.positive_iou
            picture = draw.outline(picture, wanted[missed], _RED, width=3)
        paths.append(os.path.join(folder, f"{int(images['ids'][i]):06d}_{i}.png"))
        picture.save(paths[-1])
    return paths


def load_batch(path):
    """Reads a batch that a run saved when its loss was not finite.

    Args:
        path: of the .npz file, with keys such as "images/pixels" and "objects/boxes".

    Returns:
        (images, objects), dicts of arrays.

    Raises:
        ValueError: the file holds no batch.
    """
    with np.load(path, allow_pickle=False) as file:
        content = dict(file)
    missing = {"images/pixels", "images/ids", "objects/boxes", "objects/classes", "objects/crowds"} - set(content)
    if missing:
        raise ValueError(f"{path} holds no batch: it has no {sorted(missing)[0]}.")
    parts = {"images": {}, "objects": {}}
    for key, value in content.items():
        part, name = key.split("/")
        parts[part][name] = value
    return parts["images"], parts["objects"]


def describe_batch(images, objects):
    """What in a batch is not finite or not a box, a line a picture; and the range of its pixels.

    Args:
        images, objects: dicts of arrays, as `load_batch` returns them.

    Returns:
        List of lines.
    """
    lines = []
    for i, image_id in enumerate(images["ids"]):
        pixels, own = images["pixels"][i], objects["boxes"][i][objects["classes"][i] >= 0]
        odd = ~np.isfinite(own).all(1) | (own[:, 2:] <= own[:, :2]).any(1)
        bad = int(np.sum(~np.isfinite(pixels)))
        lines.append(
            f"image {image_id}: {len(own)} objects, {int(odd.sum())} of them without area or not finite; pixels "
            f"{np.nanmin(pixels):.0f}...{np.nanmax(pixels):.0f}, {bad} of them not finite"
        )
    return lines
