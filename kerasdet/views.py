"""Views: a picture is seen several times, window by window, mirrored or at other sizes, and what is found is merged.

Windows (tiles) keep the small objects of a large picture at their size. Training and evaluation (`data.tiles`) and
`Detector.detect` take the same ones.
"""

import dataclasses

import numpy as np

from kerasdet import ops


@dataclasses.dataclass(frozen=True)
class View:
    """One way in which a picture is seen.

    Attributes:
        window: x1, y1, x2, y2, whole pixels: the part of the picture that is cut out.
        scale: factor of the size at which the network sees it otherwise.
        flip: whether left and right change places.
        pairs: for a flip, of each keypoint the number of its mirror image.
    """

    window: tuple
    scale: float = 1.0
    flip: bool = False
    pairs: tuple = ()

    @property
    def frame(self):
        """Scale x, scale y, offset x, offset y: pixels of the view = pixels of the picture * scale + offset.

        The `scale` is no part of it, because the detector itself maps back what its network found.
        """
        x1, y1, x2, _ = self.window
        return np.float32((-1, 1, x2, -y1) if self.flip else (1, 1, -x1, -y1))

    def cut(self, pixels):
        """Cuts the view out of a picture.

        Args:
            pixels: [H, W, 3] of the picture.

        Returns:
            [height, width, 3] of the window.
        """
        x1, y1, x2, y2 = self.window
        part = pixels[y1:y2, x1:x2]
        return part[:, ::-1] if self.flip else part

    def seen(self, boxes):
        """Maps boxes [R, 4] from pixels of the picture to those of the view."""
        return _mapped(boxes, self.frame[:2], self.frame[2:])

    def in_picture(self, found):
        """Maps what was found in the view to the picture.

        Args:
            found: dict of arrays: `boxes` [D, 4] in pixels of the view, and where there are `keypoints` [D, P, 3], x
                and y in its pixels and a score, and `masks` [D, S, S], grids over the boxes.

        Returns:
            The dict, in pixels of the picture.
        """
        scale, offset = self.frame[:2], self.frame[2:]
        found = {**found, "boxes": _mapped(found["boxes"], 1 / scale, -offset / scale)}
        if "keypoints" in found:
            points = found["keypoints"]
            points = np.concatenate([(points[..., :2] - offset) / scale, points[..., 2:]], -1)
            found["keypoints"] = points[:, list(self.pairs)] if self.flip else points
        if "masks" in found and self.flip:
            found["masks"] = found["masks"][:, :, ::-1]
        return found


def kinds(views, num_keypoints=0):
    """The ways in which a whole picture, or each of its windows, is seen.

    Args:
        views: of ("scale", factor), at so many times the size at which the network sees it otherwise, and "flip", also
            mirrored at each of these sizes; for a detector with keypoints ("flip", pairs), `pairs` being of each
            keypoint the number of its mirror image.
        num_keypoints: P, of the detector.

    Returns:
        List of dicts of `scale`, `flip` and `pairs` of `View`, the first being the plain one.

    Raises:
        ValueError: there is no such view, or the pairs of keypoints are not known.
    """
    scales, flips, pairs = [1.0], [False], ()
    for entry in views:
        kind, *settings = (entry,) if isinstance(entry, str) else entry if isinstance(entry, (tuple, list)) else (None,)
        if kind == "scale" and len(settings) == 1 and settings[0] > 0:
            scales.append(float(settings[0]))
        elif kind == "flip" and len(settings) <= 1:
            flips, pairs = [False, True], tuple(settings[0]) if settings else ()
        else:
            raise ValueError(f'views are of ("scale", factor), "flip" and ("flip", pairs of keypoints), got {entry!r}.')
    mutual = sorted(pairs) == list(range(num_keypoints)) and all(pairs[pair] == i for i, pair in enumerate(pairs))
    if True in flips and not mutual:
        raise ValueError(
            f"a flip changes left and right of {num_keypoints} keypoints: give ('flip', pairs), of each keypoint the "
            f"number 0...{num_keypoints - 1} of its mirror image, its own if it has none; got {pairs}."
        )
    return [{"scale": scale, "flip": flip, "pairs": pairs} for flip in flips for scale in dict.fromkeys(scales)]


def windows(height, width, size, overlap):
    """Covers a picture with square windows.

    Args:
        height, width: of the picture, pixels.
        size: side of a window, pixels; where the picture is smaller, so is the window.
        overlap: least number of pixels that neighbors share; take the size of the objects.

    Returns:
        [T, 4] int64, x1 y1 x2 y2, row by row, evenly spread, all inside the picture.

    Raises:
        ValueError: the overlap does not lie in 0...size - 1.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"tiles take (size, overlap) in whole pixels, 0 <= overlap < size; got ({size}, {overlap}).")
    rows, columns = _spans(height, size, overlap), _spans(width, size, overlap)
    return np.array([(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns])


def merged(found, views, iou, merge="hard"):
    """Joins what was detected in the views of one picture, class by class.

    Args:
        found: for each view a dict of arrays as `View.in_picture` takes it, with `scores` [D] and `classes` [D].
        views: list of `View`.
        iou: of two boxes of a class that overlap by more, the weaker is dropped.
        merge: "hard" for greedy suppression; "soft" for the Soft-NMS of CornerNet and CenterNet, `soft`.

    Returns:
        Dict of the same entries in the picture's pixels, by falling score.
    """
    mapped = [view.in_picture(one) for one, view in zip(found, views, strict=True)]
    joined = {key: np.concatenate([one[key] for one in mapped]) for key in mapped[0]}
    count = len(joined["scores"])
    if not count:
        return joined
    if merge == "soft":
        kept, scores = soft(joined["boxes"], joined["scores"], joined["classes"], limit=count)
        return {**{key: values[kept] for key, values in joined.items()}, "scores": scores}
    batch = (joined["boxes"][None], joined["scores"][None], joined["classes"][None])
    indices, _, valid = ops.nms(*batch, iou=iou, above=-1.0, limit=count)
    kept = indices.numpy()[valid.numpy()]
    return {key: values[kept] for key, values in joined.items()}


def soft(boxes, scores, classes, above=0.001, limit=100):
    """The Soft-NMS of the releases of CornerNet and CenterNet: Gaussian, sides measured with both of their end pixels.

    Args:
        boxes: [N, 4] float32, pixels.
        scores: [N] float32.
        classes: [N] int32.
        above: least score of what is kept.
        limit: at most so many are kept.

    Returns:
        The rows [M] that are kept, by falling score, and their new scores [M].
    """
    wide = np.float32(boxes) + np.float32([0, 0, 1, 1])
    indices, scores, valid = ops.soft_nms(
        wide[None], scores[None], classes[None], min(limit, len(scores)), "gaussian", above=above
    )
    valid = valid.numpy()[0]
    return indices.numpy()[0][valid], scores.numpy()[0][valid]


def _mapped(boxes, scale, offset):
    """Boxes [N, 4] in another frame; mirrored ones change their left and right sides."""
    moved = (np.float32(boxes).reshape(-1, 2, 2) * scale + offset).reshape(-1, 4)
    return moved if scale[0] > 0 else moved[:, [2, 1, 0, 3]]


def _spans(side, size, overlap):
    """Starts and ends along one side."""
    if side <= size:
        return [(0, side)]
    count = -(-(side - overlap) // (size - overlap))
    starts = np.round(np.linspace(0, side - size, count)).astype(int)
    return [(start, start + size) for start in starts]
