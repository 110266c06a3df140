"""What a detector and a file exported from one share: checks of data sets, and `detect` for pictures of any size."""

import collections.abc
import numbers
import os

import numpy as np
from PIL import Image

from kerasdet import images as image
from kerasdet import views as view
from kerasdet.decoding.paste import paste


class Detects:
    """Whatever finds objects in one picture; a subclass gives `_found`, and says what it knows and needs.

    Attributes:
        classes: tuple of the names of the classes.
        suppression: IoU above which the weaker of two boxes of a class is dropped; where tiles overlap, too.
        needs_masks, needs_proposals: whether it learns masks, and whether it looks into proposals.
        num_keypoints: P, keypoints of an object; 0 for none.
        merges_flips: whether what its network says of a mirror image goes into the detections of the picture; else
            both are detected in, and what is found is merged.
        merge: how the detections of views are merged, as in `views.merged`.
        revision: number of times that a setting was changed, after which what was traced of the model is out of date.
    """

    suppression = 0.5
    needs_masks = False
    needs_proposals = False
    num_keypoints = 0
    merges_flips = False
    merge = "hard"
    revision = 0

    def _found(self, pixels, proposals, scale=1.0, pairs=None):
        """Detects in pixels [H, W, 3]: dict of arrays by falling score, boxes in pixels; proposals [R, 4] or None.

        The network sees the picture by `scale` times as large as its resize rule says. Where it `merges_flips`, `pairs`
        are those of a flip that it sees too, see `views.kinds`; None for no flip.
        """
        raise NotImplementedError

    def _found_in_batch(self, pixels):
        """As `_found`, for each of pixels [B, H, W, 3]."""
        return [self._found(one, None) for one in pixels]

    def check(self, dataset):
        """Checks that a data set has what the detector is trained and scored on.

        Args:
            dataset: a `data.Dataset`.

        Raises:
            ValueError: one line; it has other classes, no masks or proposals, or another number of keypoints.
        """
        if tuple(dataset.classes) != tuple(self.classes):
            raise ValueError(
                f"the model knows the classes {self.classes}, but {dataset.name} has {tuple(dataset.classes)}."
            )
        if self.needs_masks and not dataset.masked:
            raise ValueError(
                f"{type(self).__name__} learns masks, but {dataset.name} has images without: give COCO segmentations, "
                "or build the model without masks."
            )
        if self.needs_proposals and any(record.proposals is None for record in dataset.records):
            raise ValueError(
                f"{type(self).__name__} needs proposals, and {dataset.name} has none: write a file by "
                "`tools.make_proposals` and name it as `proposals` in the config's data."
            )
        if self.num_keypoints and len(dataset.keypoints) != self.num_keypoints:
            raise ValueError(
                f"{type(self).__name__} has {self.num_keypoints} keypoints, but {dataset.name} has "
                f"{len(dataset.keypoints)}: {tuple(dataset.keypoints)}."
            )

    def _check_proposals(self, proposals, tiles=None):
        if self.needs_proposals and proposals is None:
            raise ValueError(f"{type(self).__name__} needs proposals: give `proposals` for every picture.")
        if proposals is not None and tiles is not None:
            raise ValueError("proposals are made for whole pictures: give no tiles with them.")

    def detect(self, pictures, above=0.3, tiles=None, proposals=None, views=()):
        """Detects in files or arrays of any size.

        Args:
            pictures: a path, the bytes of an image file, a PIL image or an array [H, W, 3] of RGB 0...255, see
                `images.picture`; or a list or another iterable of them, such as `folder.glob("*.jpg")`.
            above: least score of what is returned, 0...1; for looking at, metrics take all.
            tiles: (size, overlap) in pixels: the picture is seen in windows, see `kerasdet.views`, and what they show
                is merged; for small objects in large pictures.
            proposals: boxes [R, 4] in the picture's pixels where objects may be, the best first, or a list of them, one
                for each picture; for a detector that needs them, or in the place of its own.
            views: what else is seen of each picture or window, and merged: "flip" for its mirror image, ("scale", 1.5)
                for another size; see `views.kinds`.

        Returns:
            For each picture a dict of `boxes` [D, 4] in its pixels, `scores` [D], `classes` [D] and `names`, by falling
            score; and where the detector finds them `masks` [D, H, W] bool and `keypoints` [D, P, 3], x and y in its
            pixels and a score. Without the list for a single picture.

        Raises:
            ValueError: a file is missing or is no image, pixels are not 0...255, or an argument is wrong; the line
                names the file or the picture by its number. Or proposals are missing.
        """
        _check_score(above)
        if tiles is not None and not (isinstance(tiles, (tuple, list)) and len(tiles) == 2):
            raise ValueError(f"tiles must be (size, overlap) in pixels, or None, got {tiles!r}.")
        self._check_proposals(proposals, tiles)
        if _is_one(pictures):
            return self._detect_one(image.picture(pictures), above, tiles, _boxes(proposals), views)
        if proposals is not None:
            pictures = list(pictures)
            if len(proposals) != len(pictures):
                raise ValueError(
                    f"proposals must be one array for each of {len(pictures)} pictures, got {len(proposals)}."
                )
        found = []
        for i, one in enumerate(pictures):
            own = _boxes(None if proposals is None else proposals[i], f" of picture {i}")
            found.append(self._detect_one(image.picture(one, f"picture {i}"), above, tiles, own, views))
        return found

    def detect_batch(self, pixels, above=0.3):
        """Detects in pictures of one size, such as frames of a video: as `detect`, in one batch if the detector can.

        Args:
            pixels: [B, H, W, 3], RGB 0...255.
            above: as in `detect`.

        Returns:
            List of B dicts, as `detect` returns them.

        Raises:
            ValueError: the pixels are not RGB 0...255 of this shape, or the detector needs proposals.
        """
        _check_score(above)
        self._check_proposals(None)
        pixels = np.asarray(pixels)
        if pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(f"pixels must have shape [B, height, width, 3], got {pixels.shape}.")
        found = self._found_in_batch(image.whole(pixels, "pixels"))
        return [self._shown(one, above, *pixels.shape[1:3]) for one in found]

    def _detect_one(self, pixels, above, tiles, proposals, views):
        height, width, _ = pixels.shape
        windows = [(0, 0, width, height)] if tiles is None else view.windows(height, width, *tiles)
        kinds, flip = view.kinds(views, self.num_keypoints), {}
        if self.merges_flips and kinds[-1]["flip"]:
            flip, kinds = {"pairs": kinds[-1]["pairs"]}, [kind for kind in kinds if not kind["flip"]]
        looks = [view.View(tuple(w), **kind) for w in windows for kind in kinds]
        parts = [
            self._found(look.cut(pixels), None if proposals is None else look.seen(proposals), look.scale, **flip)
            for look in looks
        ]
        found = parts[0]
        if tiles is not None or len(looks) > 1:
            found = view.merged(parts, looks, self.suppression, self.merge)
        return self._shown(found, above, height, width)

    def _shown(self, found, above, height, width):
        """What of the arrays of `_found` has a score of at least `above`, with pasted masks and with names."""
        found = {k: v[found["scores"] >= above] for k, v in found.items()}
        if "masks" in found:
            found["masks"] = paste(found["masks"], found["boxes"], height, width)
        return {**found, "names": [self.classes[i] for i in found["classes"]]}


def _check_score(above):
    if not (isinstance(above, numbers.Real) and not isinstance(above, bool) and 0 <= above <= 1):
        raise ValueError(f"above must be a least score from 0 to 1, got {above!r}.")


def _is_one(pictures):
    """Whether this is a single picture, not an iterable of them."""
    texts = (str, bytes, bytearray, os.PathLike, Image.Image, collections.abc.Mapping)
    # Arrays and tensors can be iterated over too.
    return isinstance(pictures, texts) or hasattr(pictures, "shape") or not hasattr(pictures, "__iter__")


def _boxes(proposals, where=""):
    """Proposals [R, 4] float32, or None."""
    if proposals is None:
        return None
    try:
        boxes = np.asarray(proposals, np.float32)
    except (TypeError, ValueError):
        boxes = np.float32([np.nan])
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"proposals{where} must be boxes [R, 4] in the picture's pixels, got shape {boxes.shape}.")
    return boxes
