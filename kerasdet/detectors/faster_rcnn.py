"""Faster R-CNN: a network proposes regions on the very features that Fast R-CNN classifies them by."""

import keras
import tensorflow as tf

from kerasdet import anchors, clusters
from kerasdet.decoding import regions as decode
from kerasdet.detectors import fast_rcnn
from kerasdet.detectors.fast_rcnn import FastRCNN, counted, windows
from kerasdet.layers import Conv, image_size
from kerasdet.losses import regions as losses
from kerasdet.targets import assign, sample

# Arguments of the paper's form on VGG16 (sections 3.1 to 3.3): one map of stride 16, nine anchors a cell.
VGG16 = {
    **fast_rcnn.VGG16,
    "sizes": ((128, 256, 512),),
    "rpn_width": 512,
    "rpn_outputs": 2,
    "crossing": False,
    "rpn_side": 16.0,
    "before_nms": (12000, 6000),
    "after_nms": (2000, 300),
    "negative": 0.0,
    "roi_batch": 128,
}

# The paper's smaller network, ZF, with half of the channels.
ZF = {**VGG16, "backbone": "zf", "rpn_width": 256, "roi_size": 6}

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
class FasterRCNN(FastRCNN):
    """Faster R-CNN (Ren et al., NIPS 2015, arXiv:1506.01497), by default on a feature pyramid (FPN, CVPR 2017).

    `FasterRCNN(classes, **VGG16)`, `**ZF` and `**C4` are its forms on a single map. Proposals that images carry take
    the place of its own.

    Args:
        classes: names of the classes, or their number.
        sizes: anchors' sizes on every level; with a pyramid there is one level more (FPN, section 4.1).
        ratios: anchors' heights over widths (section 3.1.1).
        torchvision_anchors: whole-pixel anchors on the cells' corners, as torchvision's weights expect; as there, those
            outside the pictures learn too.
        rpn_depth, rpn_width: 3x3 convolutions of the proposal network (section 3.1), and their channels.
        rpn_outputs: 2 for the paper's softmax over background and object, 1 for a sigmoid.
        rpn_positive, rpn_negative: IoU of positive and of background anchors (section 3.1.2).
        rpn_batch, rpn_fraction: anchors an image that the proposal network learns from, and the greatest share of
            positives (section 3.1.3).
        rpn_beta: where its smooth L1 turns from square to line.
        crossing: whether anchors that cross the picture's border learn (section 3.3: no).
        before_nms: anchors a level that may become proposals, in training and at inference (section 3.3).
        after_nms: proposals an image, in training and at inference.
        rpn_suppression: IoU above which the weaker of two proposals of a level is dropped (section 3.3).
        rpn_side: least side of a proposal, pixels of the original picture; 16 in the release of the paper's forms.
        kwargs: of `FastRCNN`.
    """

    terms = ("rpn_class", "rpn_box", "class", "box")
    needs_proposals = False

    def __init__(
        self, classes, sizes=((32,), (64,), (128,), (256,), (512,)), ratios=(0.5, 1.0, 2.0), torchvision_anchors=False,
        rpn_depth=1, rpn_width=256, rpn_outputs=1, rpn_positive=0.7, rpn_negative=0.3, rpn_batch=256, rpn_fraction=0.5,
        rpn_beta=1 / 9, crossing=True, before_nms=(2000, 1000), after_nms=(2000, 1000), rpn_suppression=0.7,
        rpn_side=1e-3, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, **kwargs)
        if rpn_outputs not in (1, 2):
            raise ValueError(f"rpn_outputs must be 1 or 2, got {rpn_outputs!r}.")
        self.anchors = anchors.Pyramid(
            (self.levels[0], self.levels[1] + (self.fpn is not None)), sizes, ratios,
            offset=0.0 if torchvision_anchors else 0.5, rounded=torchvision_anchors, fitted=torchvision_anchors,
        )  # fmt: skip
        self.sizes, self.ratios = sizes, ratios
        self.rpn = RPN(rpn_depth, rpn_width, self.anchors.per_cell, rpn_outputs)
        self.rpn_positive, self.rpn_negative, self.crossing = rpn_positive, rpn_negative, crossing
        self.rpn_batch, self.rpn_fraction, self.rpn_beta = rpn_batch, rpn_fraction, rpn_beta
        self.before_nms, self.after_nms, self.rpn_suppression = before_nms, after_nms, rpn_suppression
        self.rpn_side, self.torchvision_anchors = rpn_side, torchvision_anchors

    def features(self, images, training=False):
        """The maps that regions are proposed on, a list of [B, H, W, C]; a pyramid's last is for proposals alone."""
        maps = super().features(images, training)
        return maps if self.fpn is None else [*maps, maps[-1][:, ::2, ::2]]  # P6 (FPN, section 4.1, footnote 1)

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
            side=self.rpn_side * images["frames"][:, None, :2],
        )  # fmt: skip
        return tf.stop_gradient(found)

    def loss_terms(self, outputs, objects, images, training=True):
        terms = super().loss_terms(outputs, objects, images, training)
        return {**self.rpn_terms(outputs, objects, images, training), **terms}

    def match(self, objects, images):
        """See `Detector`; of the proposal network's anchors (section 3.1.2)."""
        grid = self.anchors(image_size(images))
        real = windows(images)
        learned = None if self.torchvision_anchors else real
        if self.crossing:
            match = assign.by_iou(grid, objects, self.rpn_positive, self.rpn_negative, windows=learned)
            return grid, match.only((images["ids"] >= 0)[:, None])
        low, high = tf.split(real[:, None], 2, axis=-1)
        within = tf.reduce_all((grid[:, :2] >= low) & (grid[:, 2:] <= high), axis=-1) & (images["ids"] >= 0)[:, None]
        # Anchors that cross the border are emptied before the match, so that an object takes the best of the others.
        candidates = tf.where(within[..., None], grid, 0.0)
        match = assign.by_iou(candidates, objects, self.rpn_positive, self.rpn_negative, windows=learned)
        return grid, match.only(within)

    def rpn_terms(self, outputs, objects, images, training=True):
        """The loss of the proposal network (equation 1): means over the sampled anchors.

        Args:
            outputs, objects, images, training: of `loss_terms`.

        Returns:
            Dict of "rpn_class" and "rpn_box".
        """
        grid, match = self.match(objects, images)
        order = "random" if self.order == "hard" else self.order
        keys = sample.keys(order, images["ids"], self.step(training), tf.shape(grid)[0], sample.ANCHORS, self.seed)
        positive, negative = sample.balanced(
            match.positive, ~match.positive & match.counted, keys, self.rpn_batch, self.rpn_fraction
        )
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), outputs["rpn_logits"])
        distance = losses.box(grid, outputs["rpn_deltas"], match.boxes, "smooth_l1", self.rpn_beta)
        count = counted(positive | negative)
        return {
            "rpn_class": tf.reduce_sum(tf.where(positive | negative, entropy, 0.0)) / count,
            "rpn_box": tf.reduce_sum(tf.where(positive, distance, 0.0)) / count,
        }

    @property
    def positive_iou(self):
        """See `Detector`; of the proposal network."""
        return self.rpn_positive

    def fitted(self, boxes, sizes):
        return clusters.fit_sizes(boxes, self.anchors.strides, self.sizes, self.ratios, self.rpn_positive)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        proposals = {"rpn_width": 32, "rpn_batch": 64, "before_nms": (100, 50), "after_nms": (50, 30)}
        return {**super().tiny(), "sizes": ((16,), (32,), (64,), (96,)), "ratios": (1.0,), **proposals}


@keras.saving.register_keras_serializable("kerasdet")
class RPN(keras.layers.Layer):
    """The proposal network (section 3.1, figure 3): 3x3 convolutions, then an object's logit and box for every anchor.

    Args:
        depth, width: of the convolutions.
        anchors: anchors a cell.
        outputs: 2 for logits of background and object, of which the difference counts, or 1.
    """

    def __init__(self, depth, width, anchors, outputs, **kwargs):
        super().__init__(**kwargs)
        conv = {"initializer": keras.initializers.RandomNormal(stddev=0.01), "dtype": self.dtype_policy}
        self.tower = [Conv(width, 3, activation="relu", **conv) for _ in range(depth)]
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
