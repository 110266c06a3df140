"""The proposal network of Faster R-CNN: its two outputs, the regions that they propose, and its loss."""

import keras
import tensorflow as tf

from kerasdet.decoding import regions as decode
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv
from kerasdet.layers.pixels import image_size
from kerasdet.losses import boxes as losses
from kerasdet.targets import assign, sample


@keras.saving.register_keras_serializable("kerasdet")
class RPN(Composite):
    """Region proposal network (Faster R-CNN, Ren et al., NIPS 2015, section 3): an object's logit and box per anchor.

    Args:
        anchors: an `anchors.Anchors` with the same number of anchors in every cell.
        depth, width: 3x3 convolutions (figure 3), and their channels.
        outputs: 2 for the paper's softmax over background and object, 1 for a sigmoid.
        positive, negative: IoU of positive and of background anchors (section 3.1.2).
        batch, fraction: anchors per image that learn, and the greatest share of positives (section 3.1.3).
        order: how they are drawn: "random", or "first" in their order.
        beta: where smooth L1 turns from square to line.
        crossing: whether anchors that cross the picture's border learn (section 3.3: no).
        padding: whether anchors outside of the pictures learn too, as in torchvision.
        before_nms: anchors per level that may become proposals, in training and at inference (section 3.3).
        after_nms: proposals per image, in training and at inference.
        suppression: IoU above which the weaker of two proposals of a level is dropped (section 3.3).
        side: least side of a proposal, pixels of the original picture.
    """

    terms = ("rpn_class", "rpn_box")

    def __init__(
        self, anchors, depth=1, width=256, outputs=1, positive=0.7, negative=0.3, batch=256, fraction=0.5,
        order="random", beta=1 / 9, crossing=True, padding=False, before_nms=(2000, 1000), after_nms=(2000, 1000),
        suppression=0.7, side=1e-3, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if outputs not in (1, 2):
            raise ValueError(f"rpn_outputs must be 1 or 2, got {outputs!r}.")
        if len(set(anchors.per_cell)) > 1:
            raise ValueError(f"sizes must be as many on every level, which share weights; got {anchors.per_cell}.")
        conv = {"initializer": keras.initializers.RandomNormal(stddev=0.01), "dtype": self.dtype_policy}
        self.tower = [Conv(width, 3, activation="relu", **conv) for _ in range(depth)]
        self.classes = Conv(anchors.per_cell[0] * outputs, 1, **conv)
        self.boxes = Conv(anchors.per_cell[0] * 4, 1, **conv)
        self.anchors, self.outputs = anchors, outputs
        self.positive, self.negative, self.crossing, self.padding = positive, negative, crossing, padding
        self.batch, self.fraction, self.order, self.beta = batch, fraction, order, beta
        self.before_nms, self.after_nms, self.suppression, self.side = before_nms, after_nms, suppression, side

    def call(self, maps, training=False):
        """Predicts on every map.

        Args:
            maps: list of [B, H, W, C].

        Returns:
            Dict of `rpn_logits` [B, A] and `rpn_deltas` [B, A, 4] float32, maps one below another, each by row, column,
            anchor.
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
        logits = logits[..., -1] - logits[..., 0] if self.outputs == 2 else logits[..., 0]
        return {"rpn_logits": logits, "rpn_deltas": deltas}

    def proposals(self, outputs, images, training=False):
        """The regions that it finds (section 3.3).

        Args:
            outputs: what `call` returned.
            images: the images dict of `contract`.
            training: which of the two numbers of proposals.

        Returns:
            [B, R, 4] float32, pixels, best first, zeros where padded; no gradient flows through it.
        """
        size, mode = image_size(images), 0 if training else 1
        found, _ = decode.proposals(
            outputs["rpn_logits"], outputs["rpn_deltas"], self.anchors(size), self.anchors.counts(size),
            decode.windows(images), self.before_nms[mode], self.after_nms[mode], self.suppression,
            side=self.side * images["frames"][:, None, :2],
        )  # fmt: skip
        return tf.stop_gradient(found)

    def match(self, objects, images):
        """Which anchors learn which objects (section 3.1.2); see `Detector.match`."""
        grid = self.anchors(image_size(images))
        windows = decode.windows(images)
        learned = None if self.padding else windows
        if self.crossing:
            match = assign.by_iou(grid, objects, self.positive, self.negative, windows=learned)
            return grid, match.only((images["ids"] >= 0)[:, None])
        low, high = tf.split(windows[:, None], 2, axis=-1)
        within = tf.reduce_all((grid[:, :2] >= low) & (grid[:, 2:] <= high), axis=-1) & (images["ids"] >= 0)[:, None]
        # Anchors that cross the border are emptied before the match, so that an object takes the best of the others.
        match = assign.by_iou(
            tf.where(within[..., None], grid, 0.0), objects, self.positive, self.negative, windows=learned
        )
        return grid, match.only(within)

    def loss_terms(self, outputs, objects, images, step, seed=0):
        """Its loss (equation 1): means over the sampled anchors.

        Args:
            outputs: what `call` returned.
            objects, images: the dicts of `contract`.
            step, seed: of the training, which draw the sample.

        Returns:
            Dict of "rpn_class" and "rpn_box", scalars.
        """
        grid, match = self.match(objects, images)
        keys = sample.keys(self.order, images["ids"], step, tf.shape(grid)[0], sample.ANCHORS, seed)
        positive, negative = sample.balanced(
            match.positive, ~match.positive & match.counted, keys, self.batch, self.fraction
        )
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), outputs["rpn_logits"])
        distance = losses.coded(grid, outputs["rpn_deltas"], match.boxes, "smooth_l1", self.beta)
        count = assign.count(positive | negative)
        return {
            "rpn_class": tf.reduce_sum(tf.where(positive | negative, entropy, 0.0)) / count,
            "rpn_box": tf.reduce_sum(tf.where(positive, distance, 0.0)) / count,
        }
