"""One door for all formats: `read` looks at a path and calls the reader that understands it."""

import glob
import os

from kerasdet.data import coco, shapes, voc

_UNDERSTOOD = (
    'the word "shapes"; a COCO .json file, with images=FOLDER; a folder with annotations/instances_SPLIT.json (COCO); '
    "a folder with XML files in Annotations/ or in itself (Pascal VOC)"
)


def read(path, split=None, **options):
    """Reads a data set, whatever its format.

    Args:
        path: "shapes", a COCO json file, a COCO folder or a Pascal VOC folder.
        split: which part of it: "train" or "val" of the shapes, the list's name in a VOC folder, and in a COCO folder
            the beginning of what follows `instances_`: "val" finds `annotations/instances_val2017.json`, whose images
            lie in `val2017/`, `images/val2017/` or `images/`. A json file has none.
        **options: of the reader: `images` and `keypoints` of COCO, `classes` of VOC, `seed` of the shapes.

    Returns:
        `Dataset`.

    Raises:
        ValueError: one line that names the path and what would be understood, or the reader's own.
        FileNotFoundError: one line, for missing files.
    """
    if path == "shapes":
        return shapes.read(split, **options)
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist. Understood are: {_UNDERSTOOD}.")
    if path.endswith(".json"):
        if split is not None or "images" not in options:
            raise ValueError(f"{path} is one split of a COCO data set: give images=FOLDER with it, and no split.")
        return coco.read(path, **options)
    if glob.glob("Annotations/*.xml", root_dir=path) or glob.glob("*.xml", root_dir=path):
        return voc.read(path, split, **options)
    if glob.glob("annotations/instances_*.json", root_dir=path):
        name = _coco_split(path, split)
        images = options.pop("images", None) or _coco_images(path, name)
        return coco.read(os.path.join(path, "annotations", f"instances_{name}.json"), images, **options)
    raise ValueError(f"{path} holds nothing that is understood. Understood are: {_UNDERSTOOD}.")


def _coco_split(folder, split):
    """What follows `instances_` in the one file of the split."""
    found = sorted(glob.glob("instances_*.json", root_dir=os.path.join(folder, "annotations")))
    names = [name.removeprefix("instances_").removesuffix(".json") for name in found]
    fitting = [name for name in names if name == split] or [name for name in names if name.startswith(split or "")]
    if len(fitting) != 1:
        raise ValueError(f"{folder} has the splits {names}; split={split!r} does not choose one of them.")
    return fitting[0]


def _coco_images(folder, name):
    places = [os.path.join(folder, *parts) for parts in ((name,), ("images", name), ("images",))]
    for place in places:
        if os.path.isdir(place):
            return place
    raise FileNotFoundError(f"{folder} has no image folder for {name}: none of {', '.join(places)} exists.")
