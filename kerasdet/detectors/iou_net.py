"""IoU-Net: Faster R-CNN that also predicts how well each box fits, ranks boxes by that, and moves them uphill."""

import keras
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import coders, ops
from kerasdet.decoding import regions as decode
from kerasdet.decoding import suppress
from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.layers import FC, BoxHead
from kerasdet.losses import boxes as losses
from kerasdet.targets import assign, jitter, sample

# Boxes around an image's objects, from which those that learn are drawn evenly by IoU; the paper has no number.
CANDIDATES = 2000


@keras.saving.register_keras_serializable("kerasdet")
class IoUNet(FasterRCNN):
    """IoU-Net (Jiang et al., ECCV 2018, arXiv:1807.11590), by default on ResNet-50-FPN; all regions by PrRoIPool.

    Args:
        classes: names of the classes, or their number.
        iou_fc: units of the fully connected layers of the IoU branch (figure 5).
        shared: whether the branch takes those of the box head instead.
        iou_batch: boxes around the objects per image that the branch learns from (section 3.1).
        judged: boxes per image whose IoU is predicted at inference, the best by score.
        refine_steps: T, steps uphill of every detection (section 3.3, algorithm 2); 0 for none.
        step_size: lambda, by which the gradient of the IoU, in sides of the box, is multiplied.
        early_stop: Omega 1: a box rests when its predicted IoU changes by less.
        degeneration: Omega 2, at most 0: a box rests when its predicted IoU changes by less than this.
        roi_layer: of `FastRCNN`; only "precise" has a gradient for boxes.
        nms: of `Detector`; here ranked by predicted IoU (section 3.2, algorithm 1).
        kwargs: of `FasterRCNN`.
    """

    terms = (*FasterRCNN.terms, "iou")
    class_heads = (*FasterRCNN.class_heads, "iou_predictor")
    predicted = ("ious",)
    activation = staticmethod(ops.relu)

    def __init__(
        self, classes,
        # The IoU branch and what it learns from (section 3.1, figure 5).
        iou_fc=(1024, 1024), shared=False, iou_batch=512,
        # Inference (sections 3.2, 3.3 and 4.3).
        judged=1000, refine_steps=5, step_size=0.5, early_stop=0.001, degeneration=-0.01, roi_layer="precise",
        nms="iou_guided", **kwargs,
    ):  # fmt: skip
        super().__init__(classes, roi_layer=roi_layer, nms=nms, **kwargs)
        if refine_steps and roi_layer != "precise":
            raise ValueError(
                f"roi_layer must be 'precise' where boxes are refined, got {roi_layer!r}: the others have no gradient "
                "for boxes. Give refine_steps=0 to leave the boxes as they are."
            )
        self.iou_head = None if shared else BoxHead(fc=iou_fc, activation=self.activation)
        self.iou_predictor = FC(self.num_classes + 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.001))
        self.iou_batch, self.judged = iou_batch, judged
        self.refinement = {
            "steps": refine_steps, "step_size": step_size, "early_stop": early_stop, "degeneration": degeneration,
        }  # fmt: skip

    def loss_terms(self, outputs, objects, images, training=True):
        terms = super().loss_terms(outputs, objects, images, training)
        return {**terms, "iou": self.iou_term(outputs, objects, images, training)}

    def iou_term(self, outputs, objects, images, training=True):
        """Smooth L1 of the IoU, scaled to -1...1, of boxes around the objects (section 3.1): a scalar mean."""
        size = CANDIDATES * jitter.DRAWS
        drawn = sample.keys(
            "random", images["ids"], self.step(training), size + 2 * self.iou_batch, sample.JITTER, self.seed
        )
        around, picks = tf.split(drawn, [size, 2 * self.iou_batch], axis=1)
        boxes, numbers, overlaps = jitter.around(
            objects, images["windows"], tf.reshape(around, [-1, CANDIDATES, jitter.DRAWS])
        )
        rows, valid = jitter.evenly(overlaps, tf.reshape(picks, [-1, self.iou_batch, 2]))
        valid = tf.tile((valid & (images["ids"] >= 0))[:, None], [1, self.iou_batch])
        boxes, numbers, overlaps = (tf.gather(v, rows, batch_dims=1) for v in (boxes, numbers, overlaps))
        classes = tf.gather(tf.pad(objects["classes"], [[0, 0], [0, 1]]), numbers, batch_dims=1)
        boxes = tf.where(valid[..., None], boxes, 0.0)
        found = self.ious(outputs["features"], boxes, tf.where(valid, classes, -1), training)
        each = losses.smooth_l1(scaled(found), scaled(overlaps), beta=1.0)
        return tf.reduce_sum(tf.where(valid, each, 0.0)) / assign.count(valid)

    def ious(self, features, boxes, classes, training=False):
        """Predicts the IoU of boxes with their objects (figure 5).

        Args:
            features: maps that regions are cut out of.
            boxes: [B, R, 4] float32, pixels.
            classes: [B, R] int32: the class of each box, -1 for padding.
            training: whether norms and dropout train.

        Returns:
            [B, R] float32: 0...1 but for what the network errs.
        """
        seen = self.on_regions(self.iou_head or self.box_head, features, boxes, self.roi_size, training)
        every = tf.cast(self.iou_predictor(seen), tf.float32)
        # A product in the place of a gather, whose gradient TFLite lacks.
        own = tf.one_hot(tf.reshape(classes, [-1]) + 1, self.num_classes + 1)
        return tf.reshape((tf.reduce_sum(every * own, axis=-1) + 3.0) / 4.0, tf.shape(classes))

    def detections(self, outputs, images):
        features, proposals, windows = outputs["features"], outputs["proposals"], decode.windows(images)
        head = self.head(features, proposals)
        boxes = coders.decode(proposals[:, :, None], head["deltas"][:, :, 1:], coders.WEIGHTS)
        boxes, scores = decode.classified(boxes, head["logits"], proposals, windows)
        scores, classes, best = suppress.pairs(scores, self.judged, boxes=boxes)
        ious = self.ious(features, best["boxes"], classes)
        found = suppress.per_class(
            best["boxes"], scores, classes, self.num_classes, self.suppression, self.above, self.limit, self.nms,
            ious=tf.maximum(ious, 0.0),
        )  # fmt: skip
        if self.refinement["steps"]:
            moved, found["ious"] = refined(
                found["boxes"], lambda boxes: self.ious(features, boxes, found["classes"]), **self.refinement
            )
            found["boxes"] = box.clip(moved, windows)
        return found

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        return {**super().tiny(), "iou_fc": (64,), "iou_batch": 32, "judged": 40, "refine_steps": 2}


def refined(boxes, predict, steps, step_size, early_stop, degeneration):
    """Moves boxes along the gradient of the IoU that is predicted for them (section 3.3, algorithm 2).

    A box rests once a step changes its IoU by less than `early_stop`, or to the worse by more than `degeneration`; its
    last step stays.

    Args:
        boxes: [B, R, 4] float, pixels.
        predict: a function from such boxes to their IoUs [B, R].
        steps, step_size, early_stop, degeneration: see `IoUNet`.

    Returns:
        The boxes, and the IoUs that are predicted for them.
    """

    def climb(step, boxes, before, moving):
        """Judges the boxes where they are, and moves those that do not rest; the last time it judges alone."""
        with tf.GradientTape() as tape:
            tape.watch(boxes)
            ious = predict(boxes)
        change = ious - before
        moving &= (step == 0) | ((tf.abs(change) >= early_stop) & (change >= degeneration))
        low, high = tf.split(boxes, 2, axis=-1)
        shift = step_size * tape.gradient(ious, boxes) * tf.concat([high - low, high - low], axis=-1)
        boxes = tf.where(tf.expand_dims(moving & (step < steps), -1), boxes + shift, boxes)
        return step + 1, boxes, ious, moving

    # A loop, because its graph holds one step. The gradient is taken inside of it, none goes through it.
    start = (0, boxes, tf.zeros_like(boxes[..., 0]), tf.ones_like(boxes[..., 0], tf.bool))
    _, boxes, ious, _ = tf.while_loop(lambda step, *_: step <= steps, climb, start)
    return boxes, ious


def scaled(ious):
    """IoUs of 0.5...1 as -1...1 (section 3.1)."""
    return 4.0 * ious - 3.0
