"""SPP-net: convolutions run once per picture and scale; a pyramid of bins makes a vector of any part of the map."""

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import ops
from kerasdet.detectors.rcnn import RCNN

# The network of Zeiler & Fergus without padding (the release's ZF-5).
ZF5 = {"name": "zf", "padded": False}

# How a region chooses its scale: in the paper where its area is nearest 224 x 224 pixels (section 4.1); in the release
# the nearest to that at which it would have 208 x 208 pixels, which are 13 x 13 cells.
RULES = {"paper": 224, "release": 208}

# What warps regions in R-CNN has no meaning here.
_OF_WARPS = ("side", "context", "square", "pool")


class SPPNet(RCNN):
    """SPP-net (He, Zhang, Ren, Sun, ECCV 2014, arXiv:1406.4729), by default on ZF-5 at five scales.

    It learns in the stages of `RCNN`, but only the fully connected layers learn by the softmax: their stage freezes
    `backbone/*` (section 4.1). The network's image is that of the largest scale, of which the others are made.

    Args:
        classes, backbone, backbone_weights, norm, levels: as in `RCNN`.
        scales: lengths of the shorter side of a picture, pixels (section 4.1); the release has 874 for 864.
        scale_rule: a key of `RULES`.
        first: the pixel that the first cell sees in its middle, counted from 1: 21 in ZF-5; 1 where convolutions pad
            all sides alike.
        slack: pixels by which the border of a region lies outside of the cells that are taken for it (the release).
        bins: bins along a side in each level of the pyramid, each of 1...6 (sections 2.2 and 4.1).
        negative: least IoU of background with some object (the release).
        block: regions that are pooled and judged at once when it does not train.
        resize: None for ("shorter", largest scale, twice that).
        kwargs: of `RCNN`: `fc`, `dropout`, `positive`, `roi_batch`, `roi_fraction`, `above`, `suppression`, `limit`.
    """

    def __init__(
        self, classes,
        # One map for each scale (section 4.1).
        backbone=ZF5, backbone_weights=None, norm=None, levels=(4, 4), scales=(480, 576, 688, 864, 1200),
        # From a region to its cells, and their bins (sections 2.2 and 4.1; appendix A).
        scale_rule="release", first=21.0, slack=6.5, bins=(6, 3, 2, 1),
        negative=0.1, block=256, resize=None, **kwargs,
    ):  # fmt: skip
        if unused := [name for name in _OF_WARPS if name in kwargs]:
            raise ValueError(f"SPPNet takes no {unused[0]}: it pools regions of its map instead of warping them.")
        if scale_rule not in RULES:
            raise ValueError(f"scale_rule must be one of {tuple(RULES)}, got {scale_rule!r}.")
        # Only up to six bins are the thirds and halves of any number of cells exact in float32.
        if not bins or not all(isinstance(side, int) and 1 <= side <= 6 for side in bins):
            raise ValueError(
                f"bins must be whole numbers from 1 to 6, one for each level of the pyramid, got {bins!r}."
            )
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales must be lengths of the shorter side above 0, pixels, got {scales!r}.")
        resize = ("shorter", max(scales), 2 * max(scales)) if resize is None else resize
        super().__init__(
            classes, backbone=backbone, backbone_weights=backbone_weights, norm=norm, levels=levels, pool=None,
            negative=negative, block=block, resize=resize, **kwargs,
        )  # fmt: skip
        self.scales, self.scale_rule = tuple(scales), scale_rule
        self.projection = {"first": first, "slack": slack, "stride": self.backbone.strides[-1]}
        self.bins = tuple(bins)

    def network(self, images, training=False):
        pixels, maps = self.pixels(images), []
        for scale in self.scales:
            seen = pixels
            if scale != max(self.scales):
                size = tf.cast(tf.shape(pixels)[1:3], tf.float32) * (scale / max(self.scales))
                size = tf.cast(tf.math.ceil(size - 1e-3), tf.int32)
                seen = tf.cast(tf.image.resize(pixels, size), pixels.dtype)
            maps.append(self.backbone(seen, training=training)[-1])
        return {"features": maps, "windows": images["windows"], "proposals": images["proposals"]}

    def pool5(self, outputs, rows, training=False):
        """The pyramid's vectors of regions [N, sum of squares of `bins` * C]; see `RCNN.pool5`."""
        maps, boxes = outputs["features"], rows["boxes"]
        x1, y1, x2, y2 = tf.unstack(tf.gather(outputs["windows"], rows["images"]), axis=-1)
        shorter = tf.minimum(x2 - x1, y2 - y1)
        lengths = tf.expand_dims(shorter, 1) * [scale / max(self.scales) for scale in self.scales]
        which = nearest(boxes, shorter, lengths, self.scale_rule)
        sizes = tf.gather(tf.stack([tf.shape(one)[1:3] for one in maps]), which)
        regions = cells(boxes, shorter, tf.gather(lengths, which, batch_dims=1), sizes, **self.projection)
        # A region that only fills a batch up lies in no image, and so pools to zeros.
        image = tf.where(box.area(boxes) > 0, tf.cast(rows["images"], tf.float32), -1.0)
        rois = tf.concat([tf.expand_dims(image, 1), tf.cast(regions, tf.float32)], axis=1)
        return pyramid(maps, rois, which, self.bins)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        of_warps = dict.fromkeys(_OF_WARPS)
        return {
            **{name: value for name, value in RCNN.tiny().items() if name not in of_warps},
            "backbone": {"name": "resnet10", "width": 16},
            "norm": "batch",
            "levels": (3, 3),
            "scales": (64, 48),
            "first": 1.0,
            "slack": 3.0,
            "bins": (3, 2, 1),
            "negative": 0.0,
        }


def nearest(boxes, shorter, scales, rule="release"):
    """The scale at which each region is nearest to the size that the network was made for (section 4.1).

    Args:
        boxes: [N, 4] float32, pixels of a picture.
        shorter: [N] float32, length of the picture's shorter side.
        scales: [N, S] float32, the lengths among which to choose.
        rule: a key of `RULES`.

    Returns:
        [N] int32; of two equally near scales the first.
    """
    area, side = tf.expand_dims(tf.maximum(box.area(boxes), 1e-6), 1), RULES[rule]
    shorter = tf.expand_dims(shorter, 1)
    if rule == "paper":
        distance = tf.abs(area * tf.square(scales / shorter) - side**2)
    else:
        distance = tf.abs(scales - tf.floor(side * shorter / tf.sqrt(area) + 0.5))
    return tf.argmin(distance, axis=1, output_type=tf.int32)


def cells(boxes, shorter, scale, sizes, first, slack, stride):
    """The cells of a map that stand for a region (appendix A, by the numbers of the release).

    Args:
        boxes: [N, 4] float32, pixels of a picture.
        shorter: [N] float32, length of the picture's shorter side.
        scale: [N] float32, its length in the picture that the map was made of.
        sizes: [N, 2] int32, rows and columns of the map.
        first, slack, stride: of `SPPNet` and its backbone.

    Returns:
        [N, 4] int32: x1, y1, x2, y2 of the first and the last cell, counted from 0; one cell at least.
    """
    # The release counts pixels from 1, takes corners as pixels inside, and lets the outermost ones stay outermost.
    factor = tf.expand_dims((scale - 1) / tf.maximum(shorter - 1, 1e-6), 1)
    low, high = tf.split(boxes, 2, axis=1)
    low, high = low * factor + 1, (high - 1) * factor + 1
    low = tf.cast(tf.floor((low - first + slack) / stride + 0.5), tf.int32)
    high = tf.cast(tf.math.ceil((high - first - slack) / stride - 0.5), tf.int32)
    # The ends of a small region may have crossed: then both take the middle, which is halved as counted from 1.
    middle = (low + high + 2) // 2 - 1
    crossed, last = low > high, tf.reverse(sizes, [1]) - 1
    ends = (tf.where(crossed, middle, end) for end in (low, high))
    return tf.concat([tf.clip_by_value(end, 0, last) for end in ends], axis=1)


def pyramid(maps, rois, which, bins):
    """The greatest value of every bin (section 2.2); bin i of n takes cells floor(i h / n) to ceil((i + 1) h / n).

    Args:
        maps: list of [B, H, W, C], not below 0.
        rois: [N, 5] float32: image, x1, y1, x2, y2 of the first and the last cell; zeros come of an image below 0.
        which: [N] int32, the map of each.
        bins: bins along a side of each level.

    Returns:
        [N, sum of squares of `bins` * C]: level by level, row, column, channel.
    """
    pooled, levels = {}, []
    for side in bins:
        # Where the bins of a finer level fill those of a coarser one exactly, their greatest values do.
        finest = max(one for one in bins if one % side == 0)
        if finest not in pooled:
            pooled[finest] = ops.roi_pool(maps, rois, 1.0, finest, levels=which)
        step = finest // side
        level = pooled[finest] if step == 1 else tf.nn.max_pool2d(pooled[finest], step, step, "VALID")
        levels.append(tf.reshape(level, [-1, side * side * maps[0].shape[-1]]))
    return tf.concat(levels, axis=1)
