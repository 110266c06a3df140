"""Fast R-CNN: one pass per picture, and one small network per region that learns class and box together."""

import keras
import tensorflow as tf

from kerasdet import backbones, coders, ops
from kerasdet import boxes as box
from kerasdet.decoding import regions as decode
from kerasdet.detectors.detector import Detector
from kerasdet.layers import FPN, BoxHead, Pixels, RegionPredictor
from kerasdet.losses import regions as losses
from kerasdet.losses.boxes import BOX_LOSSES
from kerasdet.targets import assign, sample

# Arguments of the paper's form on VGG16 (sections 2 and 4.1).
VGG16 = {
    "backbone": {"name": "vgg16", "freeze": 1, "normalization": "rcnn"},
    "norm": None,
    "levels": (4, 4),
    "roi_layer": "pool",
    "fc": (4096, 4096),
    "dropout": 0.5,
    "negative": 0.1,
    "roi_batch": 64,
    "beta": 1.0,
    "suppression": 0.3,
    "resize": ("shorter", 600, 1000),
}


@keras.saving.register_keras_serializable("kerasdet")
class FastRCNN(Detector):
    """Fast R-CNN (Girshick, ICCV 2015, arXiv:1504.08083), by default on a feature pyramid (FPN, CVPR 2017).

    `FastRCNN(classes, **VGG16)` is the paper's own form. Images must carry `proposals`.

    Args:
        classes: names of the classes, or their number; the background has an output of its own.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments.
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made; with
            `fc=(4096, 4096)` on VGG's last map into those too, from a file with its top (section 2.2).
        norm: norm of the backbone, see `layers.norm`.
        levels: first and last level that regions are taken from: of a pyramid, or one map of the backbone's own.
        width: channels of the pyramid (FPN, section 3).
        pyramid_norm: norm of the pyramid.
        roi_layer: one of `ops.REGION_LAYERS`.
        roi_size: bins along a side of a region.
        sampling_ratio, aligned: of `ops.roi_align`.
        res5: whether conv5_x of a ResNet runs on every region (ResNet, CVPR 2016, appendix A).
        convs, fc, ranks, dropout: of `layers.BoxHead`.
        head_norm: norm of its convolutions.
        positive, negative: IoU of regions with an object, and least of those that are background (section 2.3).
        roi_batch, roi_fraction: regions per image to learn from, and the greatest share of those with an object
            (section 2.3).
        order: how they are drawn: "random", "first" in their order, or "hard", those of greatest loss (OHEM,
            Shrivastava et al., CVPR 2016, section 4), for which there is no `roi_fraction`.
        box_loss: one of `losses.boxes.BOX_LOSSES`.
        beta: where smooth L1 turns from square to line (equation 3).
        above: least score of a detection.
        suppression: IoU above which the weaker of two boxes of a class is dropped (section 3).
        limit: detections per image.
        kwargs: of `Detector`.
    """

    terms = ("class", "box")
    class_heads = ("predictor/classes", "predictor/boxes")
    needs_proposals = True
    # Of the fully connected layers. Where `detections` differentiates through them it is `ops.relu`.
    activation = "relu"

    def __init__(
        self, classes,
        # The network (section 2.1; FPN, section 3).
        backbone="resnet50", backbone_weights=None, norm="frozen", levels=(2, 5), width=256, pyramid_norm=None,
        # What is cut out of it for a region (section 2.1), and what runs on that (section 2.2).
        roi_layer="align", roi_size=7, sampling_ratio=2, aligned=True, res5=False, convs=0, fc=(1024, 1024), ranks=None,
        dropout=0.0, head_norm=None,
        # The regions that learn, and their loss (section 2.3).
        positive=0.5, negative=0.0, roi_batch=512, roi_fraction=0.25, order="random", box_loss="smooth_l1", beta=1 / 9,
        # Detections (section 3).
        above=0.05, suppression=0.5, limit=100, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, **kwargs)
        for name, value, allowed in (
            ("roi_layer", roi_layer, ops.REGION_LAYERS),
            ("box_loss", box_loss, BOX_LOSSES),
            ("order", order, (*sample.ORDERS, "hard")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")
        if roi_layer == "align_max" and sampling_ratio < 1:
            raise ValueError(f"roi_layer='align_max' needs a sampling_ratio of at least 1, got {sampling_ratio}.")
        self.backbone = backbones.build(backbone, levels=tuple(levels), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization)
        self.fpn = FPN(width, levels, norm=pyramid_norm) if levels[0] < levels[1] else None
        self.res5 = backbones.stage(backbone, norm=norm, weights=backbone_weights) if res5 else None
        self.box_head = BoxHead(convs, width, fc, ranks, head_norm, dropout, self.activation)
        if backbone_weights and isinstance(self.backbone, backbones.VGG) and (roi_size, convs) == (7, 0):
            self.backbone.load_top(self.box_head.fc, backbone_weights)
        self.predictor = RegionPredictor(self.num_classes + 1)
        self.strides, self.roi_size = self.backbone.strides, roi_size
        self.roi = {"layer": roi_layer, "sampling_ratio": sampling_ratio, "aligned": aligned}
        self.positive, self.negative, self.roi_batch, self.roi_fraction = positive, negative, roi_batch, roi_fraction
        self.order, self.box_loss, self.beta = order, box_loss, beta
        self.above, self.suppression, self.limit = above, suppression, limit

    @property
    def class_outputs(self):
        """See `Detector`; the background comes first."""
        return ("background", *self.classes)

    def features(self, images, training=False):
        """The maps that regions are taken from, a list of [B, H, W, C]."""
        maps = self.backbone(self.pixels(images), training=training)
        return maps if self.fpn is None else self.fpn(maps, training=training)

    def network(self, images, training=False):
        return {"features": self.features(images, training), "proposals": images["proposals"]}

    def raw(self, outputs):
        return {"proposals": outputs["proposals"], **self.head(outputs["features"], outputs["proposals"])}

    def head(self, features, boxes, training=False):
        """Runs once per region.

        Args:
            features: maps that regions are cut out of.
            boxes: [B, R, 4] float32, pixels.
            training: whether norms and dropout train.

        Returns:
            Dict of `logits` [B, R, 1 + K] and `deltas` [B, R, 1 + K, 4] float32; a subclass may add what it predicts
            beside them, see `Detector.predicted`.
        """
        return self.predictor(self.described(features, boxes, training))

    def described(self, features, boxes, training=False):
        """What the fully connected layers make of every region, [B, R, C]; arguments as in `head`."""
        x = self.on_regions(self.box_head, features, boxes, self.roi_size, training)
        return tf.reshape(x, [*tf.unstack(tf.shape(boxes)[:2]), x.shape[-1]])

    def on_regions(self, branch, features, boxes, size, training=False):
        """Runs a branch on every region; for C4, after conv5_x.

        Args:
            branch: a layer from [N, S, S, C].
            features, boxes, training: as in `head`.
            size: bins along a side.

        Returns:
            [B * R, ...]; in training 0 of padding, which would count in the norms' statistics.
        """
        if not training:
            return self._branch(branch, self._cut(features, boxes, size), False)
        real = tf.reshape(box.area(boxes) > 0, [-1])
        none = ~tf.reduce_any(real)
        # Norms need something to look at: where no region is real, once the whole map.
        sides = tf.cast(tf.shape(features[0])[1:3] * self.strides[0], tf.float32)
        boxes = tf.where(none, tf.concat([[0.0, 0.0], sides[::-1]], axis=0), boxes)
        real |= none & (tf.range(tf.size(real)) == 0)
        found = self._branch(branch, tf.boolean_mask(self._cut(features, boxes, size), real), True)
        return tf.scatter_nd(tf.where(real), found, [tf.size(real, tf.int64), *found.shape[1:]])

    def _cut(self, features, boxes, size):
        return ops.region_features(features[: len(self.strides)], boxes, self.strides, size, **self.roi)

    def _branch(self, branch, x, training):
        x = x if self.res5 is None else self.res5(x, training=training)
        return branch(x, training=training)

    def loss_terms(self, outputs, objects, images, training=True):
        return self.region_terms(outputs, self.sampled(outputs, objects, images, training), training)

    def sampled(self, outputs, objects, images, training=True):
        """The regions that the second stage learns from.

        Args:
            outputs, objects, images, training: of `loss_terms`.

        Returns:
            `targets.sample.Regions`, `roi_batch` of them per image at most.
        """
        # OHEM abolishes the lower bound of background, a heuristic for hard examples (section 4).
        negative = 0.0 if self.order == "hard" else self.negative
        candidates = sample.candidates(outputs["proposals"], objects, images, self.positive, negative)
        if self.order == "hard":
            return self._hardest(outputs, candidates)
        count = tf.shape(candidates.boxes)[1]
        keys = sample.keys(self.order, images["ids"], self.step(training), count, sample.REGIONS, self.seed)
        return sample.regions(candidates, keys, self.roi_batch, self.roi_fraction)

    def _hardest(self, outputs, candidates):
        """Those of greatest loss that do not overlap (OHEM, section 4): a choice, so no gradient."""
        with self.off_tape():
            entropy, distance = self.multi_task(self.head(outputs["features"], candidates.boxes), candidates)
            loss = tf.where(candidates.valid, entropy + distance, -1.0)
            rows, _, valid = ops.nms(candidates.boxes, loss, None, 0.7, 0.0, self.roi_batch)
        return candidates.taken(rows, valid)

    def region_terms(self, outputs, regions, training=True):
        """The loss of the second stage (Fast R-CNN, equation 1): means over the sampled regions.

        Args:
            outputs, training: of `loss_terms`.
            regions: of `sampled`.

        Returns:
            Dict of "class" and "box".
        """
        entropy, distance = self.multi_task(self.head(outputs["features"], regions.boxes, training), regions)
        count = assign.count(regions.valid)
        return {"class": tf.reduce_sum(entropy) / count, "box": tf.reduce_sum(distance) / count}

    def multi_task(self, head, regions):
        """Both losses of every region (equation 1).

        Args:
            head: what `head` returned for them.
            regions: `targets.sample.Regions`.

        Returns:
            Those of the class and those of the box, [B, N] float32 each, 0 where there is nothing to learn.
        """
        return losses.multi_task(head["logits"], head["deltas"], regions, self.box_loss, self.beta, coders.WEIGHTS)

    def detections(self, outputs, images):
        return decode.detections(
            self.head(outputs["features"], outputs["proposals"]), outputs["proposals"], decode.windows(images),
            coders.WEIGHTS, self.suppression, self.above, self.limit, self.nms,
        )  # fmt: skip

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        return {
            "classes": ["square", "disc"],
            "backbone": {"name": "resnet10", "width": 16},
            "norm": "batch",
            "levels": (3, 5),
            "width": 32,
            "roi_size": 4,
            "fc": (64,),
            "roi_batch": 32,
            "beta": 1.0,
            "limit": 20,
            "resize": ("keep",),
        }
