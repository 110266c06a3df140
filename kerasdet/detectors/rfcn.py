"""R-FCN: the last convolutions say what lies where in an object, and a region only pools their maps and votes."""

import keras
import tensorflow as tf

from kerasdet import anchors, backbones, clusters, coders, ops
from kerasdet.decoding import regions as decode
from kerasdet.detectors.detector import Detector
from kerasdet.layers import RPN, Conv, Pixels
from kerasdet.losses import regions as losses
from kerasdet.targets import assign, sample

ROI_LAYERS = ("pool", "align")
ORDERS = (*sample.ORDERS, "hard")

# Arguments for COCO (section 4.2): one size of anchors more.
COCO = {"sizes": ((64, 128, 256, 512),)}


@keras.saving.register_keras_serializable("kerasdet")
class RFCN(Detector):
    """R-FCN (Dai et al., NIPS 2016, arXiv:1605.06409), by default on ResNet-101.

    All layers with weights run once per picture. Proposals that images carry take the place of its own.

    Args:
        classes: names of the classes, or their number; the background has maps of its own.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments: a ResNet or MobileNet, whose
            `output_stride` is 16 if the dict has no other.
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made.
        norm: norm of the backbone, see `layers.norm`.
        width: channels of the 1x1 convolution on the backbone's last map (section 2, "backbone architecture").
        bins: k, bins along a side of a region, each with maps of its own (section 2).
        box_values: numbers of a box in every bin: 4, or 8 as in the release, whose first four, for background, nothing
            uses.
        roi_layer: "pool", the paper's mean over whole cells (equation 1), or "align", a mean of bilinear samples.
        sampling_ratio: of `ops.ps_roi_align`.
        sizes, ratios: of the anchors, see `FasterRCNN`.
        rpn_width, rpn_outputs, rpn_positive, rpn_negative, rpn_batch, rpn_fraction, rpn_beta, crossing, before_nms,
            after_nms, rpn_suppression, rpn_side: of `layers.RPN`, which runs on the map before the last.
        positive, negative: IoU of regions with an object, and least of those that are background (section 2,
            "training").
        roi_batch: regions per image to learn from: B.
        order: how they are chosen: "hard", those of greatest loss (OHEM, section 2), or "random" and "first", of
            which `roi_fraction` is the greatest share with an object.
        box_count: what the sum of box losses is divided by: None for the regions that learn; 256 in the release for
            OHEM of two images.
        beta: where smooth L1 turns from square to line.
        above: least score of a detection.
        suppression: IoU above which the weaker of two boxes of a class is dropped (section 2, "inference").
        limit: detections per image.
        kwargs: of `Detector`.
    """

    terms = (*RPN.terms, "class", "box")
    class_heads = ("score_maps",)

    def __init__(
        self, classes,
        # The network and its maps (section 2, figure 2).
        backbone="resnet101_keras", backbone_weights=None, norm="frozen", width=1024, bins=7, box_values=4,
        # What a region takes of them (equation 1).
        roi_layer="pool", sampling_ratio=2,
        # Proposals: those of Faster R-CNN, as many in training as at inference (section 2, "training").
        sizes=((128, 256, 512),), ratios=(0.5, 1.0, 2.0), rpn_width=512, rpn_outputs=2, rpn_positive=0.7,
        rpn_negative=0.3, rpn_batch=256, rpn_fraction=0.5, rpn_beta=1 / 9, crossing=False, before_nms=(6000, 6000),
        after_nms=(300, 300), rpn_suppression=0.7, rpn_side=16.0,
        # The regions that learn, and their loss (section 2, "training").
        positive=0.5, negative=0.0, roi_batch=128, roi_fraction=0.25, order="hard", box_count=None, beta=1.0,
        # Detections (section 2, "inference").
        above=0.05, suppression=0.3, limit=100, resize=("shorter", 600, 1000), **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, **kwargs)
        for name, value, allowed in (
            ("roi_layer", roi_layer, ROI_LAYERS), ("order", order, ORDERS), ("box_values", box_values, (4, 8)),
        ):  # fmt: skip
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")
        # The last stage keeps the stride of the one before it and reads every second cell ("hole algorithm", 4.1).
        self.backbone = backbones.build(backbone, (4, 5), norm=norm, weights=backbone_weights, output_stride=16)
        self.pixels = Pixels(self.backbone.normalization)
        conv = {"initializer": keras.initializers.RandomNormal(stddev=0.01)}
        self.reduction = Conv(width, 1, activation="relu", **conv)
        self.score_maps = Conv(bins**2 * (self.num_classes + 1), 1, **conv)
        self.box_maps = Conv(bins**2 * box_values, 1, **conv)
        stride, self.stride = self.backbone.strides
        self.anchors = anchors.Anchors(anchors.shapes(sizes, ratios), (stride,))
        self.rpn = RPN(
            self.anchors, 1, rpn_width, rpn_outputs, rpn_positive, rpn_negative, rpn_batch, rpn_fraction,
            "first" if order == "first" else "random", rpn_beta, crossing, False, before_nms, after_nms,
            rpn_suppression, rpn_side,
        )  # fmt: skip
        self.sizes, self.ratios, self.bins = sizes, ratios, bins
        self.roi_layer, self.sampling_ratio = roi_layer, sampling_ratio
        self.positive, self.negative, self.roi_batch, self.roi_fraction = positive, negative, roi_batch, roi_fraction
        self.order, self.box_count, self.beta = order, box_count, beta
        self.above, self.suppression, self.limit = above, suppression, limit

    @property
    def class_outputs(self):
        """See `Detector`; the background comes first."""
        return ("background", *self.classes)

    def network(self, images, training=False):
        before, last = self.backbone(self.pixels(images), training=training)
        reduced = self.reduction(last, training=training)
        outputs = self.rpn([before], training=training)
        proposals = images.get("proposals")
        if proposals is None:
            proposals = self.rpn.proposals(outputs, images, training)
        # Channels by row and column of the bin, then class or value.
        maps = [self.score_maps(reduced), self.box_maps(reduced)]
        return {"features": maps, **outputs, "proposals": proposals}

    def raw(self, outputs):
        return {"proposals": outputs["proposals"], **self.head(outputs["features"], outputs["proposals"])}

    def head(self, features, boxes, training=False):
        """Runs once per region: pools and votes, without any weights (section 2).

        Args:
            features: the score maps and the box maps, [B, H, W, k * k * N] each.
            boxes: [B, R, 4] float32, pixels.
            training: nothing depends on it.

        Returns:
            Dict of `logits` [B, R, 1 + K] and `deltas` [B, R, 1, 4] float32: all classes share a box.
        """
        logits, deltas = (self._vote(maps, boxes) for maps in features)
        return {"logits": logits, "deltas": deltas[:, :, None, -4:]}

    def _vote(self, maps, boxes):
        """The mean over the bins of every region, [B, R, N] float32."""
        pooled = self.pooled(maps, boxes)
        votes = tf.reduce_mean(tf.cast(pooled, tf.float32), axis=[1, 2])
        return tf.reshape(votes, [*tf.unstack(tf.shape(boxes)[:2]), pooled.shape[-1]])

    def pooled(self, maps, boxes):
        """What every bin of a region sees on the maps of its own (equation 1), [B * R, k, k, N]."""
        rois = ops.rois(boxes)
        if self.roi_layer == "pool":
            return ops.ps_roi_pool(maps, rois, 1 / self.stride, self.bins)
        return ops.ps_roi_align(maps, rois, 1 / self.stride, self.bins, self.sampling_ratio)

    def match(self, objects, images):
        """See `Detector`; of the proposal network's anchors."""
        return self.rpn.match(objects, images)

    def loss_terms(self, outputs, objects, images, training=True):
        terms = self.rpn.loss_terms(outputs, objects, images, self.step(training), self.seed)
        regions = sample.candidates(outputs["proposals"], objects, images, self.positive, self.negative)
        if self.order != "hard":
            count = tf.shape(regions.boxes)[1]
            keys = sample.keys(self.order, images["ids"], self.step(training), count, sample.REGIONS, self.seed)
            regions = sample.regions(regions, keys, self.roi_batch, self.roi_fraction)
        return {**terms, **self.region_terms(self.head(outputs["features"], regions.boxes), regions)}

    def region_terms(self, head, regions):
        """The loss of the second stage (section 2, "training").

        Args:
            head: what `head` returned.
            regions: `targets.sample.Regions`; in OHEM those to choose from.

        Returns:
            Dict of "class" and "box": means over the regions that learn.
        """
        entropy, distance = losses.multi_task(
            head["logits"], head["deltas"], regions, "smooth_l1", self.beta, coders.WEIGHTS
        )
        learning = regions.valid
        if self.order == "hard":
            # The losses of all regions cost next to nothing here, so none runs twice, and none is suppressed before.
            counts = tf.fill(tf.shape(learning)[:1], self.roi_batch)
            learning = sample.hard_negatives(entropy + distance, learning, counts)
        count = assign.count(learning)
        entropy, distance = (tf.reduce_sum(tf.where(learning, one, 0.0)) for one in (entropy, distance))
        return {"class": entropy / count, "box": distance / (self.box_count or count)}

    def detections(self, outputs, images):
        return decode.detections(
            self.head(outputs["features"], outputs["proposals"]), outputs["proposals"], decode.windows(images),
            coders.WEIGHTS, self.suppression, self.above, self.limit, self.nms,
        )  # fmt: skip

    @property
    def positive_iou(self):
        """See `Detector`; of the proposal network."""
        return self.rpn.positive

    def fitted(self, boxes, sizes):
        return clusters.fit_sizes(boxes, self.anchors.strides, self.sizes, self.ratios, self.rpn.positive)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        return {
            "classes": ["square", "disc"],
            "backbone": {"name": "resnet10", "width": 16},
            "norm": "batch",
            "width": 32,
            "bins": 3,
            "roi_layer": "align",
            "sizes": ((32, 48),),
            "ratios": (1.0,),
            "rpn_width": 32,
            "rpn_batch": 64,
            "rpn_side": 1e-3,
            "crossing": True,
            "before_nms": (100, 50),
            "after_nms": (50, 30),
            "roi_batch": 32,
            "limit": 20,
            "resize": ("keep",),
        }
