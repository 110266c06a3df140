"""RetinaNet: a dense detector trained with the focal loss."""

import keras
import tensorflow as tf

from kerasdet import anchors, backbones, boxes, clusters, coders
from kerasdet.decoding import candidates, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import FPN, ConvHead, Pixels, image_size
from kerasdet.losses import boxes as losses
from kerasdet.losses import classes as class_losses
from kerasdet.targets import assign


@keras.saving.register_keras_serializable("kerasdet")
class RetinaNet(Detector):
    """RetinaNet (Lin et al., ICCV 2017, arXiv:1708.02002).

    Args:
        classes: names of the classes, or their number.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments (section 4).
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made.
        norm: norm of the backbone, see `layers.norm`.
        levels: first and last level of the pyramid.
        extra_from: "c" or "p", the map that P6 is computed from: C5 in the paper, P5 in later releases.
        width: channels of the pyramid and the heads.
        depth: convolutions in each head's tower.
        head_norm: kind of `layers.norm`, see `layers.ConvHead`.
        octaves, ratios, scale: anchors of a cell: sizes per octave, heights over widths, smallest size in strides
            (section 4).
        alpha, gamma: of the focal loss (section 3.2, equation 5).
        prior: initial score of every class (section 4.1).
        positive, negative: IoU of positive and of background anchors (section 4).
        box_loss: one of `losses.boxes.BOX_LOSSES`.
        beta: where smooth L1 turns from square to line; 0 is L1.
        box_weight: factor of the box loss.
        normalizer: "batch" divides by the positives of the global batch, "image" by each image's own (section 4.1).
        per_level: candidates per level (section 4.1).
        above: least score of a detection (section 4.1).
        suppression: IoU above which the weaker of two boxes of a class is dropped (section 4.1).
        limit: detections per image.
        torchvision_anchors: whole-pixel anchors on the cells' corners, as torchvision's weights expect; as there, those
            outside the pictures learn too.
        anchor_offset: center of the first anchor of other forms, in cells; 0 in Detectron2.
        kwargs: of `Detector`.
    """

    terms = ("class", "box")
    class_heads = ("class_head/predictor",)

    def __init__(
        self, classes,
        # The network (section 4, figure 3).
        backbone="resnet50", backbone_weights=None, norm="frozen", levels=(3, 7), extra_from="c", width=256, depth=4,
        head_norm=None, prior=0.01,
        # Anchors and what they learn (section 4).
        octaves=3, ratios=(0.5, 1.0, 2.0), scale=4.0, torchvision_anchors=False, anchor_offset=0.5, positive=0.5,
        negative=0.4,
        # The loss (sections 3.2 and 4.1).
        alpha=0.25, gamma=2.0, box_loss="smooth_l1", beta=0.11, box_weight=1.0, normalizer="batch",
        # Detections (section 4.1).
        per_level=1000, above=0.05, suppression=0.5, limit=100, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, **kwargs)
        if box_loss not in losses.BOX_LOSSES:
            raise ValueError(f"box_loss must be one of {losses.BOX_LOSSES}, got {box_loss!r}.")
        if normalizer not in ("batch", "image"):
            raise ValueError(f"normalizer must be 'batch' or 'image', got {normalizer!r}.")
        self.backbone = backbones.build(backbone, levels=(levels[0], 5), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization)
        self.fpn = FPN(width, levels, extra_from)
        strides = self.fpn.strides(self.backbone.strides)
        sizes = anchors.octaves(strides, scale, octaves)
        if torchvision_anchors:
            sizes = [[int(size + 1e-6) for size in level] for level in sizes]
        placed = anchors.TORCHVISION if torchvision_anchors else {"offset": anchor_offset}
        self.anchors = anchors.Anchors(anchors.shapes(sizes, ratios), strides, **placed)
        self.levels, self.octaves, self.ratios, self.scale = levels, octaves, ratios, scale
        head = {"anchors": octaves * len(ratios), "norm": head_norm, "levels": len(strides)}
        self.class_head = ConvHead(depth, width, outputs=self.num_classes, prior=prior, **head)
        self.box_head = ConvHead(depth, width, outputs=4, **head)
        self.positive_iou, self.negative, self.torchvision_anchors = positive, negative, torchvision_anchors
        self.alpha, self.gamma = alpha, gamma
        self.box_loss, self.beta, self.box_weight, self.normalizer = box_loss, beta, box_weight, normalizer
        self.per_level, self.above, self.suppression, self.limit = per_level, above, suppression, limit

    def features(self, images, training=False):
        """The pyramid (section 4), a list of [B, H, W, C]."""
        return self.fpn(self.backbone(self.pixels(images), training=training), training=training)

    def network(self, images, training=False):
        pyramid = self.features(images, training)
        return {
            "logits": self.class_head(pyramid, training=training),  # [B, A, K]
            "deltas": self.box_head(pyramid, training=training),  # [B, A, 4]
        }

    def match(self, objects, images):
        grid = self.anchors(image_size(images))
        windows = None if self.torchvision_anchors else images["windows"]
        return grid, assign.by_iou(grid, objects, self.positive_iou, self.negative, windows=windows)

    def loss_terms(self, outputs, objects, images, training=True):
        grid, match = self.match(objects, images)
        share = self._share(match, images)  # [B]: one over what the image's sums are divided by
        targets = tf.one_hot(match.classes, self.num_classes)
        class_loss = tf.reduce_sum(class_losses.focal(outputs["logits"], targets, self.alpha, self.gamma), axis=-1)
        class_loss = tf.reduce_sum(tf.where(match.counted, class_loss, 0.0), axis=1)
        box_loss = losses.coded(grid, outputs["deltas"], match.boxes, self.box_loss, self.beta)
        box_loss = tf.reduce_sum(tf.where(match.positive, box_loss, 0.0), axis=1)
        return {
            "class": tf.reduce_sum(class_loss * share),
            "box": tf.reduce_sum(box_loss * share) * self.box_weight,
        }

    def _share(self, match, images):
        real = tf.cast(images["ids"] >= 0, tf.float32)
        if self.normalizer == "batch":
            return real / assign.positives(match, images)
        own = tf.reduce_sum(tf.cast(match.positive, tf.float32), axis=1)
        return real / tf.maximum(own, 1.0) / tf.maximum(assign.over_replicas(tf.reduce_sum(real)), 1.0)

    def detections(self, outputs, images):
        size = image_size(images)
        logits, rows, classes = candidates.top(outputs["logits"], self.anchors.counts(size), self.per_level)
        deltas = tf.gather(outputs["deltas"], rows, batch_dims=1)
        decoded = coders.decode(tf.gather(self.anchors(size), rows), deltas)
        decoded = boxes.clip(decoded, images["windows"])
        scores = tf.where((images["ids"] >= 0)[:, None], tf.sigmoid(logits), 0.0)
        return suppress.per_class(
            decoded, scores, classes, self.num_classes, self.suppression, self.above, self.limit, self.nms
        )

    def fitted(self, boxes, sizes):
        at_hand = {name: getattr(self, name) for name in ("levels", "octaves", "ratios", "scale")}
        return clusters.fit_octaves(boxes, **at_hand, positive=self.positive_iou)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {"backbone": {"name": "resnet10", "width": 16}, "norm": "batch", "levels": (3, 6)}
        heads = {"width": 32, "depth": 1, "octaves": 2, "ratios": (1.0,)}
        return {"classes": ["square", "disc"], **network, **heads, "resize": ("keep",)}
