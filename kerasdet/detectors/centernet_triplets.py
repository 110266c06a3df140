"""CenterNet, Keypoint Triplets: a pair of corners is an object if a center lies in the middle of its box."""

import keras
import tensorflow as tf

from kerasdet import boxes
from kerasdet.decoding import peaks
from kerasdet.detectors.cornernet import CORNERS, CornerNet, CornerPool
from kerasdet.layers import Conv, image_size
from kerasdet.losses import heatmaps as losses
from kerasdet.ops import corner_pool
from kerasdet.targets import heatmaps as targets

# Arguments of the smaller network of table 2; the other one is the default.
HOURGLASS_52 = {"backbone": "hourglass52"}

# Of the diameter of a Gaussian, its deviation: a fifth at centers in the release, a sixth at corners.
CENTER_DIVISOR = 5.0


@keras.saving.register_keras_serializable("kerasdet")
class CenterNetTriplets(CornerNet):
    """CenterNet, Keypoint Triplets (Duan et al., ICCV 2019, arXiv:1904.08189), by default on Hourglass-104.

    `CenterNetTriplets(classes, **HOURGLASS_52)` is the smaller network. Another paper of the same year has the name
    CenterNet too: Objects as Points, `CenterNet`.

    Args:
        classes, backbone, backbone_weights, norm, pool_width, head_width: as in `CornerNet`.
        overlap, corrected: as in `CornerNet`; here radii are the larger ones, from IoU 0.7.
        corners: best points of each of the three kinds.
        regions: (n of small boxes, n of large ones): the central region is the middle one of n x n (section 3.1).
        large: side of a square, pixels of the picture, above whose area a box is large.
        outside: pairs whose boxes leave the picture by so many of its pixels or more are dropped, as in the release.
        checked: whether pairs without a center in their central region are dropped; False leaves CornerNet's decoding.
        kwargs: of `CornerNet`.
    """

    points = {**CornerNet.points, "center": ("heat", "offset")}

    def __init__(
        self, classes, backbone="hourglass104", backbone_weights=None, norm="batch", pool_width=128, head_width=256,
        overlap=0.7, corrected=False, corners=70, regions=(3, 5), large=150, outside=5.0, checked=True,
        **kwargs,
    ):  # fmt: skip
        network = {"backbone": backbone, "backbone_weights": backbone_weights, "norm": norm}
        heads = {"pool_width": pool_width, "head_width": head_width, "corners": corners}
        super().__init__(classes, **network, **heads, overlap=overlap, corrected=corrected, **kwargs)
        self.regions, self.large, self.outside, self.checked = tuple(regions), large, outside, checked

    def pool(self, point, width, channels, norm):
        kind, edges = (CenterPool, ("top", "left")) if point == "center" else (CascadePool, CORNERS[point])
        return kind(*edges, width, channels, norm)

    def loss_terms(self, outputs, objects, images, training=True):
        """Means over the stacks (equation 1): CornerNet's losses, with the focal loss and the offsets of centers."""
        with self.off_tape():
            objects, inside, learned, hidden = self.in_cells(outputs, objects, images)
            both = targets.corners(inside, learned, self.overlap, self.corrected)
            centers = targets.centers(inside, learned, self.overlap)
        terms = [
            self.point_terms(outputs, side, points, objects["classes"], hidden)
            for side, points in zip(CORNERS, both, strict=True)
        ]
        terms.append(self.point_terms(outputs, "center", centers, objects["classes"], hidden, CENTER_DIVISOR))
        return {**losses.summed(terms), **self.tag_terms(outputs, both)}

    def detections(self, outputs, images, mirrored=None, pairs=()):
        """See `CornerNet`; a pair also needs a center, of the picture or of its mirror image (section 3.1)."""
        size = image_size(images)
        found, centers = [self.found_pairs(outputs, size)], [self.found_centers(outputs, size)]
        if mirrored is not None:
            found.append(self.turned(self.found_pairs(mirrored, size), size))
            centers.append(self.turned(self.found_centers(mirrored, size), size))
        found, centers = self.joined(found), self.joined(centers)
        low, high = tf.split(found["boxes"], 2, axis=-1)
        start, end = tf.split(tf.expand_dims(images["windows"], 1), 2, axis=-1)
        scale = tf.expand_dims(images["frames"][:, :2], 1)
        near = (low > start - self.outside * scale) & (high < end + self.outside * scale)
        real = tf.reduce_all(near, axis=-1) & tf.expand_dims(images["ids"] >= 0, 1)
        found["boxes"] = boxes.clip(found["boxes"], images["windows"])
        if self.checked:
            found["scores"] = self.with_centers(found, centers, scale)
        return self.suppressed({**found, "scores": tf.where(real, found["scores"], 0.0)})

    def found_centers(self, outputs, size):
        """The best centers: `boxes` [B, C, 4] of no size, in pixels, `scores` and `classes` [B, C]."""
        heat, offset = outputs["center_heat"][-1], outputs["center_offset"][-1]
        values, cells, classes = peaks.peaks(heat, self.corners)
        places = tf.cast(cells, tf.float32) + losses.at(offset, cells)
        ratio = targets.cells_per_pixel(targets.grid_of(heat), size)
        return {"boxes": tf.concat([places, places], -1) / ratio, "scores": tf.sigmoid(values), "classes": classes}

    def with_centers(self, found, centers, scale):
        """Scores of the pairs [B, N]: means of all three points, 0 without a center of the class in the central region.

        The first center counts, not the best: those of the picture by falling score, then those of its mirror image.
        """
        low, high = (tf.expand_dims(corner, 2) for corner in central(found["boxes"], scale, self.regions, self.large))
        places = tf.expand_dims(centers["boxes"][..., :2], 1)
        inside = tf.reduce_all((places > low) & (places < high), axis=-1)
        inside &= tf.expand_dims(found["classes"], 2) == tf.expand_dims(centers["classes"], 1)
        inside &= tf.expand_dims(centers["scores"] > 0, 1) & tf.expand_dims(found["scores"] > 0, 2)
        first = tf.argmax(tf.cast(inside, tf.int32), axis=2, output_type=tf.int32)
        score = tf.gather(centers["scores"], first, batch_dims=1)
        return tf.where(tf.reduce_any(inside, axis=2), (2 * found["scores"] + score) / 3, 0.0)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        # Regions larger than the box, so that something is found before anything is learned; and moderate outputs.
        rules = {"regions": (0.1, 0.1), "outside": 10_000.0}
        return {**super().tiny(), "norm": "group", "head_width": 24, **rules}


def central(found, scale, regions=(3, 5), large=150):
    """The central regions of boxes: the middle one of n x n (equation 1).

    Args:
        found: [B, N, 4] float32, network pixels.
        scale: [B, 1, 2] float32, network pixels of a pixel of the picture.
        regions: (n of small boxes, n of large ones).
        large: side of a square, pixels of the picture, above whose area a box is large.

    Returns:
        Upper left and lower right corners [B, N, 2].
    """
    low, high = tf.split(found, 2, axis=-1)
    width, height = tf.unstack((high - low) / scale, axis=-1)
    n = tf.where(tf.expand_dims(width * height, -1) > float(large**2), float(regions[1]), float(regions[0]))
    return ((n + 1) * low + (n - 1) * high) / (2 * n), ((n - 1) * low + (n + 1) * high) / (2 * n)


@keras.saving.register_keras_serializable("kerasdet")
class CascadePool(CornerPool):
    """Cascade corner pooling: each edge also looks inward, along the other one, before it is pooled (figure 5)."""

    def __init__(self, vertical, horizontal, width, channels, norm, **kwargs):
        super().__init__(vertical, horizontal, width, channels, norm, **kwargs)
        conv = {"dtype": self.dtype_policy}
        self.look = [Conv(width, 3, norm=norm, activation="relu", **conv) for _ in self.edges]
        self.join = [Conv(width, 3, biased=False, **conv) for _ in self.edges]

    def pooled(self, x, training):
        found, inward = [], self.edges[::-1]
        for conv, look, join, edge, other in zip(self.before, self.look, self.join, self.edges, inward, strict=True):
            seen = corner_pool(look(x, training=training), other)
            found.append(corner_pool(join(conv(x, training=training) + seen), edge))
        return found


@keras.saving.register_keras_serializable("kerasdet")
class CenterPool(CornerPool):
    """Center pooling: the maximum of the whole column plus that of the whole row (figure 4)."""

    opposite = {"top": "bottom", "left": "right"}

    def pooled(self, x, training):
        return [corner_pool(one, self.opposite[edge])
                for one, edge in zip(super().pooled(x, training), self.edges, strict=True)]  # fmt: skip
