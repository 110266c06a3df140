"""Faster R-CNN: a network proposes regions on the very features that Fast R-CNN classifies them by."""

import keras
import tensorflow as tf

from kerasdet import anchors, backbones, ops
from kerasdet.decoding import regions as decode
from kerasdet.detectors.detector import Detector
from kerasdet.layers import FPN, BoxHead, Conv, Pixels, RegionPredictor, image_size
from kerasdet.losses import regions as losses
from kerasdet.targets import assign, sample

# Of the coder of the second stage: one over the deviations 0.1 and 0.2 of its targets.
WEIGHTS = (10.0, 10.0, 5.0, 5.0)

# Arguments of the paper's form on VGG16 (sections 3.1 to 3.3): one map of stride 16, nine anchors a cell.
VGG16 = {
    "backbone": {"name": "vgg16", "freeze": 1},
    "norm": None,
    "levels": (4, 4),
    "sizes": ((128, 256, 512),),
    "rpn_width": 512,
    "rpn_outputs": 2,
    "crossing": False,
    "before_nms": (12000, 6000),
    "after_nms": (2000, 300),
    "roi_layer": "pool",
    "fc": (4096, 4096),
    "dropout": 0.5,
    "roi_batch": 128,
    "beta": 1.0,
    "resize": ("shorter", 600, 1000),
}

# The paper's smaller network (ZF), its features of half the width.
ZF = {**VGG16, "backbone": {"name": "zf"}, "rpn_width": 256, "roi_size": 6}

# ResNet-C4 (He et al., CVPR 2016, appendix A): conv5_x runs on every region; fifteen anchors as Detectron has them.
C4 = {
    "levels": (4, 4),
    "sizes": ((32, 64, 128, 256, 512),),
    "rpn_width": 1024,
    "before_nms": (12000, 6000),
    "after_nms": (2000, 1000),
    "roi_size": 14,
    "res5": True,
    "fc": (),
}


@keras.saving.register_keras_serializable("kerasdet")
class FasterRCNN(Detector):
    """Faster R-CNN (Ren et al., NIPS 2015, arXiv:1506.01497), by default on a feature pyramid (FPN, CVPR 2017).

    `FasterRCNN(classes, **VGG16)`, `**ZF` and `**C4` are its forms on a single map.

    Args:
        classes: names of the classes, or their number; the background has an output of its own.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments.
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made.
        norm: norm of the backbone, see `layers.norm`.
        levels: first and last level that regions are taken from: of a pyramid, or one map of the backbone's own.
        width: channels of the pyramid (FPN, section 3).
        pyramid_norm: norm of the pyramid.
        sizes: anchors' sizes on every level; with a pyramid there is one level more (FPN, section 4.1).
        ratios: anchors' heights over widths (section 3.1.1).
        torchvision_anchors: whole-pixel anchors on the cells' corners, as torchvision's weights expect.
        rpn_depth, rpn_width: 3x3 convolutions of the proposal network (section 3.1), and their channels.
        rpn_norm: their norm.
        rpn_outputs: 2 for the paper's softmax over background and object, 1 for a sigmoid.
        rpn_positive, rpn_negative: IoU of positive and of background anchors (section 3.1.2).
        rpn_batch, rpn_fraction: anchors an image that the proposal network learns from, and the greatest share of
            positives (section 3.1.3).
        crossing: whether anchors that cross the picture's border learn (section 3.3: no).
        before_nms: anchors a level that may become proposals, in training and at inference (section 3.3).
        after_nms: proposals an image, in training and at inference.
        rpn_suppression: IoU above which the weaker of two proposals of a level is dropped (section 3.3).
        roi_layer: one of `ops.REGION_LAYERS`.
        roi_size: bins a side of a region.
        sampling_ratio, aligned: of `ops.roi_align`.
        res5: whether conv5_x of a ResNet runs on every region (C4).
        convs, fc, ranks, dropout: of `layers.BoxHead`.
        head_norm: norm of its convolutions.
        positive, negative: IoU of regions with an object, and least of those that are background (Fast R-CNN,
            section 2.3).
        roi_batch, roi_fraction: regions an image that the second stage learns from, and the greatest share of those
            with an object.
        order: how anchors and regions are drawn: "random", "first" in their order, or "hard": regions of greatest loss
            (OHEM, Shrivastava et al., CVPR 2016, section 4), anchors at random.
        box_loss: one of `losses.regions.BOX_LOSSES`, of the second stage.
        rpn_beta, beta: where smooth L1 turns from square to line, in both stages.
        above: least score of a detection.
        suppression: IoU above which the weaker of two boxes of a class is dropped.
        limit: detections an image.
        kwargs: of `Detector`.
    """

    terms = ("rpn_class", "rpn_box", "class", "box")
    class_heads = ("predictor/classes",)

    def __init__(
        self, classes, backbone="resnet50", backbone_weights=None, norm="frozen", levels=(2, 5), width=256,
        pyramid_norm=None, sizes=((32,), (64,), (128,), (256,), (512,)), ratios=(0.5, 1.0, 2.0),
        torchvision_anchors=False, rpn_depth=1, rpn_width=256, rpn_norm=None, rpn_outputs=1, rpn_positive=0.7,
        rpn_negative=0.3, rpn_batch=256, rpn_fraction=0.5, crossing=True, before_nms=(2000, 1000),
        after_nms=(2000, 1000), rpn_suppression=0.7, roi_layer="align", roi_size=7, sampling_ratio=2, aligned=True,
        res5=False, convs=0, fc=(1024, 1024), ranks=None, dropout=0.0, head_norm=None, positive=0.5, negative=0.0,
        roi_batch=512, roi_fraction=0.25, order="random", box_loss="smooth_l1", rpn_beta=1 / 9, beta=1 / 9, above=0.05,
        suppression=0.5, limit=100, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, **kwargs)
        pyramid = levels[0] < levels[1]
        _check("roi_layer", roi_layer, ops.REGION_LAYERS)
        _check("box_loss", box_loss, losses.BOX_LOSSES)
        _check("order", order, (*sample.ORDERS, "hard"))
        _check("rpn_outputs", rpn_outputs, (1, 2))
        self.backbone = backbones.build(backbone, levels=tuple(levels), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization)
        self.fpn = FPN(width, levels, norm=pyramid_norm) if pyramid else None
        self.anchors = anchors.Pyramid(
            (levels[0], levels[1] + pyramid), sizes, ratios,
            offset=0.0 if torchvision_anchors else 0.5, rounded=torchvision_anchors, fitted=torchvision_anchors,
        )  # fmt: skip
        self.rpn = RPN(rpn_depth, rpn_width, self.anchors.per_cell, rpn_outputs, rpn_norm)
        self.res5 = backbones.stage(backbone, norm=norm) if res5 else None
        self.box_head = BoxHead(convs, width, fc, ranks, head_norm, dropout)
        self.predictor = RegionPredictor(self.num_classes + 1)
        self.levels = tuple(levels)
        self.rpn_positive, self.rpn_negative, self.crossing = rpn_positive, rpn_negative, crossing
        self.rpn_batch, self.rpn_fraction, self.rpn_beta = rpn_batch, rpn_fraction, rpn_beta
        self.before_nms, self.after_nms, self.rpn_suppression = before_nms, after_nms, rpn_suppression
        self.roi_size = roi_size
        self.roi = {"layer": roi_layer, "sampling_ratio": sampling_ratio, "aligned": aligned}
        self.positive, self.negative, self.roi_batch, self.roi_fraction = positive, negative, roi_batch, roi_fraction
        self.order, self.box_loss, self.beta = order, box_loss, beta
        self.above, self.suppression, self.limit = above, suppression, limit

    @property
    def class_outputs(self):
        """See `Detector`; the background comes first."""
        return ("background", *self.classes)

    def features(self, images, training=False):
        """The maps that regions are proposed on, a list of [B, H, W, C]; a pyramid's last is for proposals alone."""
        maps = self.backbone(self.pixels(images), training=training)
        if self.fpn is None:
            return maps
        maps = self.fpn(maps, training=training)
        return [*maps, maps[-1][:, ::2, ::2]]  # P6 (FPN, section 4.1, footnote 1)

    def network(self, images, training=False):
        maps = self.features(images, training)
        logits, deltas = self.rpn(maps, training=training)  # [B, A], [B, A, 4]
        outputs = {"features": maps, "rpn_logits": logits, "rpn_deltas": deltas}
        given = images.get("proposals")
        return {**outputs, "proposals": self.proposals(outputs, images, training) if given is None else given}

    def proposals(self, outputs, images, training=False):
        """The regions that the proposal network finds (section 3.3).

        Args:
            outputs: `rpn_logits` [B, A] and `rpn_deltas` [B, A, 4].
            images: the images dict.
            training: which of the two numbers of proposals.

        Returns:
            [B, R, 4] float32, pixels, best first, zeros where padded; no gradient flows through it.
        """
        size, mode = image_size(images), 0 if training else 1
        found, _ = decode.proposals(
            outputs["rpn_logits"], outputs["rpn_deltas"], self.anchors(size), self.anchors.counts(size),
            windows(images), self.before_nms[mode], self.after_nms[mode], self.rpn_suppression,
        )  # fmt: skip
        return tf.stop_gradient(found)

    def head(self, features, boxes, training=False):
        """Runs once a region.

        Args:
            features: maps that regions are cut out of.
            boxes: [B, R, 4] float32, pixels.
            training: whether norms and dropout train.

        Returns:
            logits [B, R, 1 + K] and deltas [B, R, 1 + K, 4], float32.
        """
        x = self.box_head(self.region_features(features, boxes, self.roi_size, training), training=training)
        return self.predictor(tf.reshape(x, [*tf.unstack(tf.shape(boxes)[:2]), x.shape[-1]]))

    def region_features(self, features, boxes, size, training=False):
        """Features of every region, [B * R, S, S, C]; with C4 those of conv5_x."""
        maps = features[: self.levels[1] - self.levels[0] + 1]
        x = ops.region_features(maps, boxes, self.levels[0], size, **self.roi)
        return x if self.res5 is None else self.res5(x, training=training)

    def loss_terms(self, outputs, objects, images, training=True):
        regions = self.sampled(outputs, objects, images, training)
        return {**self.rpn_terms(outputs, objects, images, training), **self.box_terms(outputs, regions, training)}

    def rpn_terms(self, outputs, objects, images, training=True):
        """The loss of the proposal network (equation 1): means over the sampled anchors.

        Args:
            outputs, objects, images, training: of `loss_terms`.

        Returns:
            Dict of "rpn_class" and "rpn_box".
        """
        grid = self.anchors(image_size(images))
        real = windows(images)
        match = assign.by_iou(grid, objects, self.rpn_positive, self.rpn_negative, low_quality=True, windows=real)
        allowed = match.counted & (images["ids"] >= 0)[:, None]
        if not self.crossing:
            low, high = tf.split(real[:, None], 2, axis=-1)
            allowed &= tf.reduce_all((grid[:, :2] >= low) & (grid[:, 2:] <= high), axis=-1)
        order = "random" if self.order == "hard" else self.order
        keys = sample.keys(order, images["ids"], self.step(training), tf.shape(grid)[0])
        positive, negative = sample.balanced(
            match.positive & allowed, ~match.positive & allowed, keys, self.rpn_batch, self.rpn_fraction
        )
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), outputs["rpn_logits"])
        distance = losses.box(grid, outputs["rpn_deltas"], match.boxes, "smooth_l1", self.rpn_beta)
        count = counted(positive | negative)
        return {
            "rpn_class": tf.reduce_sum(tf.where(positive | negative, entropy, 0.0)) / count,
            "rpn_box": tf.reduce_sum(tf.where(positive, distance, 0.0)) / count,
        }

    def sampled(self, outputs, objects, images, training=True):
        """The regions that the second stage learns from.

        Args:
            outputs, objects, images, training: of `loss_terms`.

        Returns:
            `targets.sample.Regions`, `roi_batch` of them an image at most.
        """
        given = sample.candidates(outputs["proposals"], objects, images, self.positive, self.negative)
        if self.order == "hard":
            return self._hardest(outputs, given, training)
        keys = sample.keys(self.order, images["ids"], self.step(training), tf.shape(given.boxes)[1])
        return sample.regions(given, keys, self.roi_batch, self.roi_fraction)

    def _hardest(self, outputs, given, training):
        """Those of greatest loss that do not overlap (OHEM, section 4); no gradient flows through the choice."""
        features = [tf.stop_gradient(x) for x in outputs["features"]]
        logits, deltas = self.head(features, given.boxes, training)
        entropy, box = losses.multi_task(logits, deltas, given, self.box_loss, self.beta, WEIGHTS)
        loss = tf.where(given.valid, tf.stop_gradient(entropy + box), -1.0)
        rows, _, valid = ops.nms(given.boxes, loss, None, 0.7, 0.0, self.roi_batch)
        return given.taken(rows, valid)

    def box_terms(self, outputs, regions, training=True):
        """The loss of the second stage (Fast R-CNN, equation 1): means over the sampled regions.

        Args:
            outputs, training: of `loss_terms`.
            regions: of `sampled`.

        Returns:
            Dict of "class" and "box".
        """
        logits, deltas = self.head(outputs["features"], regions.boxes, training)
        entropy, box = losses.multi_task(logits, deltas, regions, self.box_loss, self.beta, WEIGHTS)
        count = counted(regions.valid)
        return {"class": tf.reduce_sum(entropy) / count, "box": tf.reduce_sum(box) / count}

    def detections(self, outputs, images):
        logits, deltas = self.head(outputs["features"], outputs["proposals"])
        return decode.detections(
            logits, deltas, outputs["proposals"], windows(images), WEIGHTS, self.suppression, self.above, self.limit
        )

    def get_config(self):
        return {**super().get_config(), "backbone_weights": None}

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        return {
            "classes": ["square", "disc"],
            "backbone": {"name": "resnet18", "width": 16},
            "norm": "batch",
            "levels": (3, 5),
            "width": 32,
            "sizes": ((16,), (32,), (64,), (96,)),
            "ratios": (1.0,),
            "rpn_width": 32,
            "rpn_batch": 64,
            "before_nms": (100, 50),
            "after_nms": (50, 30),
            "roi_size": 4,
            "fc": (64,),
            "roi_batch": 32,
            "resize": ("keep",),
        }


@keras.saving.register_keras_serializable("kerasdet")
class RPN(keras.layers.Layer):
    """The proposal network (section 3.1, figure 3): 3x3 convolutions, then an object's logit and box for every anchor.

    Args:
        depth, width: of the convolutions.
        anchors: anchors a cell.
        outputs: 2 for logits of background and object, of which the difference counts, or 1.
        norm: of the convolutions.
    """

    def __init__(self, depth, width, anchors, outputs, norm=None, **kwargs):
        super().__init__(**kwargs)
        conv = {"initializer": keras.initializers.RandomNormal(stddev=0.01), "dtype": self.dtype_policy}
        self.tower = [Conv(width, 3, norm=norm, activation="relu", **conv) for _ in range(depth)]
        self.outputs = outputs
        self.classes = Conv(anchors * outputs, 1, **conv)
        self.boxes = Conv(anchors * 4, 1, **conv)

    def call(self, maps, training=False):
        """Predicts on every map.

        Args:
            maps: list of [B, H, W, C].

        Returns:
            logits [B, A] and deltas [B, A, 4] float32, maps one below another, each by row, column, anchor.
        """
        logits, deltas = [], []
        for x in maps:
            count = tf.shape(x)[0]
            for conv in self.tower:
                x = conv(x, training=training)
            logits.append(tf.reshape(self.classes(x), [count, -1, self.outputs]))
            deltas.append(tf.reshape(self.boxes(x), [count, -1, 4]))
        logits, deltas = (tf.cast(tf.concat(parts, axis=1), tf.float32) for parts in (logits, deltas))
        # The softmax over two is the sigmoid of their difference.
        return logits[..., -1] - logits[..., 0] if self.outputs == 2 else logits[..., 0], deltas


def windows(images):
    """The real pixels of every image, [B, 4]; without area where an image only fills the batch."""
    return tf.where((images["ids"] >= 0)[:, None], images["windows"], 0.0)


def counted(mask):
    """How many places of a mask [B, N] are set in the global batch, at least 1, a float."""
    return tf.maximum(assign.over_replicas(tf.reduce_sum(tf.cast(mask, tf.float32))), 1.0)


def _check(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} must be one of {tuple(allowed)}, got {value!r}.")
