"""R-CNN: a network runs on every proposed region; linear SVMs judge its features, ridge regression moves its box."""

import keras
import tensorflow as tf

from kerasdet import backbones, coders
from kerasdet import boxes as box
from kerasdet.decoding import regions as decode
from kerasdet.decoding import suppress
from kerasdet.detectors.detector import Detector
from kerasdet.detectors.solvers import RegionSolvers, Scores
from kerasdet.layers import FC, BoxHead, Pixels, in_blocks
from kerasdet.targets import assign, sample

# VGG16 instead of CaffeNet (table 3), in smaller blocks for its larger maps.
VGG16 = {"backbone": "vgg16", "side": 224, "pool": (2, 2), "block": 8}


class RCNN(RegionSolvers, Detector):
    """R-CNN (Girshick, Donahue, Darrell, Malik, CVPR 2014, arXiv:1311.2524). Images must carry `proposals`.

    It is made in three steps, the stages of a training: the network learns by a softmax (section 2.3), the solver "svm"
    fits a linear SVM for each class to fc7, and the solver "ridge" a box for each class to pool5 (appendix C). Until
    the SVMs are fitted, the softmax scores.

    Args:
        classes: names of the classes, or their number.
        backbone, backbone_weights: as in `FastRCNN`; ImageNet's fc6 and fc7 too if it is VGG16.
        norm: of the backbone; one with statistics of the batch counts regions that only fill a sample up.
        levels: first and last level of the backbone; the last map is taken.
        side: of the square that a region is warped to, pixels.
        context: pixels of it around the region, on each side (appendix A).
        square: whether a region becomes the tightest square around it instead of being stretched (appendix A).
        pool: side and stride of the max pool that makes pool5 of the last map, or None.
        fc: units of fc6, fc7 ...; without any, the mean over the map stands for pool5 and fc7.
        dropout: of `BoxHead`.
        positive, negative: IoU of regions with an object, and least of those that are background (section 2.3).
        roi_batch, roi_fraction: regions an image to learn from, and the greatest share of those with an object. The
            paper draws 32 and 96 windows over all pictures.
        block: regions that the network runs on at once when it does not train.
        above, suppression, limit: as in `FastRCNN`.
        kwargs: of `Detector`.
    """

    terms = ("class",)
    class_heads = ("predictor", "svm", "ridge", "scores")
    needs_proposals = True

    def __init__(
        self, classes,
        # The network (section 2.1; appendix A).
        backbone="caffenet", backbone_weights=None, norm=None, levels=(4, 4), side=227, context=16, square=False,
        pool=(3, 2), fc=(4096, 4096), dropout=0.5,
        # The regions that learn (section 2.3).
        positive=0.5, negative=0.0, roi_batch=128, roi_fraction=0.25,
        # Detections (section 2.2).
        block=16, above=0.0, suppression=0.3, limit=100, resize=("keep",), **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, **kwargs)
        if not 0 <= 2 * context < side:
            raise ValueError(f"context must leave room for the region in side={side}, got {context}.")
        self.backbone = backbones.build(backbone, levels=tuple(levels), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization)
        self.box_head = BoxHead(fc=fc, dropout=dropout)
        if backbone_weights and isinstance(self.backbone, backbones.VGG) and (side, tuple(pool or ())) == (224, (2, 2)):
            self.backbone.load_top(self.box_head.fc, backbone_weights)
        self.predictor = FC(self.num_classes + 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))
        # What the solvers set; no gradient does.
        self.svm = FC(self.num_classes, kernel_initializer="zeros", trainable=False)
        self.ridge = FC(4 * self.num_classes, kernel_initializer="zeros", trainable=False)
        self.scores = Scores(self.num_classes)
        self.warp = {"side": side, "context": context, "square": square}
        self.pool, self.block, self.positive, self.negative = pool, block, positive, negative
        self.roi_batch, self.roi_fraction = roi_batch, roi_fraction
        self.above, self.suppression, self.limit = above, suppression, limit

    @property
    def class_outputs(self):
        """See `Detector`; the background comes first."""
        return ("background", *self.classes)

    def network(self, images, training=False):
        given = {name: images[name] for name in ("windows", "proposals")}
        return {"features": tf.cast(self.pixels(images), tf.float32), **given}

    def pool5(self, outputs, rows, training=False):
        """The features of regions before any fully connected layer.

        Args:
            outputs: what `network` returned.
            rows: dict of `boxes` [N, 4] float32, pixels, and `images` [N] int32, the image that each lies in.
            training: whether norms train.

        Returns:
            [N, P].
        """
        windows = tf.gather(outputs["windows"], rows["images"])
        crops = warped(outputs["features"], rows["images"], rows["boxes"], windows, **self.warp)
        x = self.backbone(tf.cast(crops, self.compute_dtype), training=training)[-1]
        if self.pool is not None:
            x = tf.nn.max_pool2d(x, *self.pool, "VALID")
        if not self.box_head.fc:
            return tf.reduce_mean(x, [1, 2])
        return tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])

    def fc7(self, pool5, training=False):
        """[N, F] of what `pool5` returns, [N, P]."""
        return self.box_head(tf.reshape(pool5, [-1, 1, 1, pool5.shape[-1]]), training=training)

    def head(self, outputs, boxes, training=False):
        """Runs once per region.

        Args:
            outputs: what `network` returned.
            boxes: [B, R, 4] float32, pixels.
            training: whether norms and dropout train.

        Returns:
            Dict of float32: `logits` [B, R, 1 + K] of the softmax, `margins` [B, R, K] of the SVMs, `deltas`
            [B, R, K, 4].
        """

        def judged(rows):
            pool5 = self.pool5(outputs, rows, training)
            fc7 = self.fc7(pool5, training)
            deltas = tf.reshape(self.ridge(pool5), [-1, 4, self.num_classes])  # classes fastest, as in all class heads
            return {"logits": self.predictor(fc7), "margins": self.svm(fc7), "deltas": tf.transpose(deltas, [0, 2, 1])}

        return self.on_regions(judged, boxes, training)

    def on_regions(self, function, boxes, training=False):
        """Runs a function of rows, see `pool5`, on boxes [B, R, 4]: a dict of [B, R, ...] float32."""
        batch, count = tf.unstack(tf.shape(boxes)[:2])
        boxes = tf.stop_gradient(boxes)
        rows = {"boxes": tf.reshape(boxes, [batch * count, 4]), "images": tf.repeat(tf.range(batch), count)}
        found = function(rows) if training else in_blocks(function, rows, self.block)
        return {
            name: tf.reshape(tf.cast(values, tf.float32), [batch, count, *values.shape[1:]])
            for name, values in found.items()
        }

    def raw(self, outputs):
        return {"proposals": outputs["proposals"], **self.head(outputs, outputs["proposals"])}

    def loss_terms(self, outputs, objects, images, training=True):
        candidates = sample.candidates(outputs["proposals"], objects, images, self.positive, self.negative)
        count = tf.shape(candidates.boxes)[1]
        keys = sample.keys("random", images["ids"], self.step(training), count, sample.REGIONS, self.seed)
        drawn = sample.regions(candidates, keys, self.roi_batch, self.roi_fraction)
        logits = self.head(outputs, drawn.boxes, training)["logits"]
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(drawn.classes + 1, logits)
        return {"class": tf.reduce_sum(tf.where(drawn.valid, entropy, 0.0)) / assign.count(drawn.valid)}

    def detections(self, outputs, images):
        head, proposals = self.head(outputs, outputs["proposals"]), outputs["proposals"]
        found = box.clip(coders.decode(proposals[:, :, None], head["deltas"]), decode.windows(images)[:, None])
        real = box.is_large(found, decode.DETECTION_SIDE) & (box.area(proposals) > 0)[..., None]
        scores = tf.where(real, self.scores(head["logits"], head["margins"]), 0.0)
        return suppress.within_classes(found, scores, self.suppression, self.above, self.limit, self.nms)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        return {
            "classes": ["square", "disc"],
            "backbone": {"name": "zf", "width": 12, "normalization": "torch"},
            "side": 32,
            "context": 2,
            "pool": None,
            "fc": (32,),
            "dropout": 0.0,
            "positive": 0.8,
            "roi_batch": 16,
            "block": 64,
            "above": 0.05,
            "limit": 40,
            "resize": ("stretch", 64, 64),
        }


def warped(pixels, images, boxes, windows, side, context=0, square=False):
    """Cuts boxes with some context out of pictures and stretches each to a square (R-CNN, appendix A).

    It follows the release to the pixel: the context is a factor about the box's center, corners are rounded, what lies
    in the picture is resized bilinearly, without antialias, to its share of the square, and the rest stays 0.

    Args:
        pixels: [B, H, W, C] float32, normalized, so that 0 is the mean color.
        images: [N] int32, which picture each box lies in.
        boxes: [N, 4] float32, pixels.
        windows: [N, 4] float32, the real pixels of each box's picture.
        side: of the square, pixels.
        context: pixels of the square around the box on each side.
        square: whether to cut the tightest square around the box.

    Returns:
        [N, side, side, C].
    """
    height, width = tf.unstack(tf.shape(pixels)[1:3])
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    left, top, right, bottom = tf.unstack(tf.cast(tf.round(windows), tf.int32), axis=-1)
    longer = tf.maximum(x2 - x1, y2 - y1) if square else None
    columns = _taps(x1, x2, left, right, longer, side, context)
    rows = _taps(y1, y2, top, bottom, longer, side, context)
    table = tf.reshape(pixels, [-1, pixels.shape[-1]])
    start = tf.reshape(images * height * width, [-1, 1, 1])

    def between(row, part):
        """A row of pixels, between two columns."""
        first, second = (
            tf.gather(table, start + tf.expand_dims(row * width, 2) + tf.expand_dims(column, 1))
            for column in columns[:2]
        )
        return first + (second - first) * part

    part = tf.reshape(columns[2], [-1, 1, side, 1])
    upper, lower = (between(row, part) for row in rows[:2])
    inside = tf.expand_dims(rows[3], 2) & tf.expand_dims(columns[3], 1)
    crops = upper + (lower - upper) * tf.reshape(rows[2], [-1, side, 1, 1])
    return tf.where(tf.expand_dims(inside, -1), crops, 0.0)


def _taps(low, high, first, last, longer, side, context):
    """Along an axis, [N, side]: the two pixels between which each of the square lies, where, and whether at all."""
    low, high = low - tf.cast(first, tf.float32), high - tf.cast(first, tf.float32)
    start, stop = _rounded(low), _rounded(high)
    if context or longer is not None:
        half = (high - low if longer is None else longer) / 2 * (side / (side - 2 * context))
        # The release counts pixels from 1 and corners as inside: its box ends up half a pixel beside ours.
        center = low + 1 + (high - low) / 2
        start, stop = _rounded(center - half) - 1, _rounded(center + half)
    wanted = tf.maximum(stop - start, 1)
    inner = tf.clip_by_value(start, 0, last - first), tf.clip_by_value(stop, 0, last - first)
    length = tf.maximum(inner[1] - inner[0], 0)
    before, count = ((2 * share * side + wanted) // (2 * wanted) for share in (tf.maximum(-start, 0), length))
    before = tf.minimum(before, side)
    count = tf.expand_dims(tf.minimum(count, side - before), 1)
    place = tf.expand_dims(tf.range(side), 0) - tf.expand_dims(before, 1)
    # Between the centers of pixels, in halves of `count`, so that whole numbers suffice.
    steps, double = (2 * place + 1) * tf.expand_dims(length, 1) - count, tf.maximum(2 * count, 1)
    below = steps // double
    part = tf.cast(steps - double * below, tf.float32) / tf.cast(double, tf.float32)
    begin, end = (tf.expand_dims(one, 1) for one in (first + inner[0], first + tf.maximum(inner[1], 1) - 1))
    pixels = (tf.clip_by_value(begin + below + i, tf.minimum(begin, end), end) for i in (0, 1))
    return (*pixels, part, (place >= 0) & (place < count))


def _rounded(x):
    """To whole numbers, halves away from 0."""
    return tf.cast(tf.sign(x) * tf.floor(tf.abs(x) + 0.5), tf.int32)
