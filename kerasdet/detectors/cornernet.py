"""CornerNet: an object is a pair of corners, found by corner pooling on heat maps and paired by their embeddings."""

import keras
import tensorflow as tf

from kerasdet import backbones, boxes
from kerasdet.decoding import peaks, suppress
from kerasdet.decoding.suppress import BOTH_ENDS
from kerasdet.detectors.detector import Detector
from kerasdet.layers import CellHead, Conv, Pixels, image_size
from kerasdet.layers.composite import Composite
from kerasdet.losses import embeddings
from kerasdet.losses import heatmaps as losses
from kerasdet.ops import corner_pool
from kerasdet.targets import heatmaps as targets

# Each corner looks along the two edges that meet in it (figure 2).
CORNERS = {"top_left": ("top", "left"), "bottom_right": ("bottom", "right")}

# Arguments of CornerNet-Squeeze (CornerNet-Lite, Law et al., arXiv:1904.08900, section 4).
SQUEEZE = {"backbone": "hourglass_squeeze", "head_size": 1, "corners": 20, "pairs": 100}


@keras.saving.register_keras_serializable("kerasdet")
class CornerNet(Detector):
    """CornerNet (Law & Deng, ECCV 2018, arXiv:1808.01244), by default on Hourglass-104.

    Args:
        classes: names of the classes, or their number.
        backbone: key of `backbones.BACKBONES`, or a dict with such a `name` and its arguments.
        backbone_weights: None; hourglasses have no weights of Keras' own.
        norm: kind of `layers.norm`.
        pool_width: channels of corner pooling (figure 7).
        head_width, head_size: of the heads' first convolution: channels, and side of the kernel.
        overlap: IoU that the radius of a Gaussian keeps (section 3.2; 0.3 in the release).
        corrected: whether the radius is the one that keeps it; not so in weights released before March 2019.
        pull, push: weights of the two losses of embeddings (section 3.4).
        max_objects: the first so many objects of a picture are learned.
        corners: best corners of each kind (section 4.2).
        distance: greatest difference of the embeddings of a pair (section 4.2).
        pairs: best pairs that suppression sees.
        above: least score of a detection, also after Soft-NMS.
        suppression: IoU above which "hard" and "soft_linear" `nms` drop or weaken a box.
        merge_exponent: None, or the power by which Soft-NMS' boxes are averaged; 10 in the release's multi-scale tests.
        limit: detections per image.
        nms: as in `Detector`.
        resize, multiple: as in `Detector`.
        kwargs: of `Detector`.
    """

    # What is read off at each kind of point.
    points = dict.fromkeys(CORNERS, ("heat", "tag", "offset"))
    terms = ("heat", "pull", "push", "offset")
    merges_flips = True
    merge = "soft"

    def __init__(
        self, classes, backbone="hourglass104", backbone_weights=None, norm="batch", pool_width=128, head_width=256,
        head_size=3, overlap=0.3, corrected=True, pull=0.1, push=0.1, max_objects=128, corners=100, distance=0.5,
        pairs=1000, above=0.001, suppression=0.5, merge_exponent=None, limit=100, nms="soft",
        resize=("cornernet_keep", 128), multiple=1, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, multiple=multiple, nms=nms, **kwargs)
        self.backbone = backbones.build(backbone, levels=(2, 2), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization, outside=0.0)
        outputs, channels = {"heat": self.num_classes, "tag": 1, "offset": 2}, self.backbone.channels
        self.pools = {point: [self.pool(point, pool_width, one, norm) for one in channels] for point in self.points}
        self.heads = {
            f"{point}_{name}": [
                CellHead(head_width, outputs[name], -2.19 if name == "heat" else 0.0, head_size) for _ in channels
            ]
            for point, names in self.points.items()
            for name in names
        }
        self.class_heads = tuple(f"heads/{one}_heat/{i}/predictor" for one in self.points for i in range(len(channels)))
        self.overlap, self.corrected, self.pull, self.push = overlap, corrected, pull, push
        self.max_objects, self.corners, self.distance, self.pairs = max_objects, corners, distance, pairs
        self.above, self.suppression, self.limit = above, suppression, limit
        self.merge_exponent = merge_exponent

    def pool(self, point, width, channels, norm):
        """The block before the heads of a kind of point."""
        return CornerPool(*CORNERS[point], width, channels, norm)

    def features(self, images, training=False):
        """Maps of stride 4, one for each stack."""
        return self.backbone(self.pixels(images), training=training)

    def network(self, images, training=False):
        return self.said(self.features(images, training), training)

    def said(self, maps, training):
        """What all heads say on the stacks' maps."""
        pooled = {
            point: [pool(x, training=training) for pool, x in zip(pools, maps, strict=True)]
            for point, pools in self.pools.items()
        }
        # By corner and name, one map for each stack.
        return {
            name: [head(x) for head, x in zip(heads, pooled[name.rpartition("_")[0]], strict=True)]
            for name, heads in self.heads.items()
        }

    def loss_terms(self, outputs, objects, images, training=True):
        """Means over the stacks (equations 1 to 5); embeddings' losses are sums over the images, as in the release."""
        with self.off_tape():
            objects, inside, learned, hidden = self.in_cells(outputs, objects, images)
            both = targets.corners(inside, learned, self.overlap, self.corrected)
        terms = [
            self.point_terms(outputs, side, points, objects["classes"], hidden)
            for side, points in zip(CORNERS, both, strict=True)
        ]
        return {**losses.summed(terms), **self.tag_terms(outputs, both)}

    def in_cells(self, outputs, objects, images):
        """The first objects, their boxes in cells, which of them are learned, and cells that are no background."""
        grid, size, real = targets.grid_of(outputs["top_left_heat"][0]), image_size(images), images["ids"][:, None] >= 0
        objects = targets.first(objects, self.max_objects)
        inside = targets.clipped(objects["boxes"], size) * targets.cells_per_pixel(grid, size)
        hidden = targets.hidden(objects, grid, size) | ~real[..., None]
        return objects, inside, targets.real(objects) & real, hidden

    def point_terms(self, outputs, name, points, classes, hidden, divisor=6.0, ignored=None):
        """The losses of a kind of point: of its heat map (equation 1) and of its places in the cells (equation 3)."""
        heats, offsets = outputs[f"{name}_heat"], outputs[f"{name}_offset"]
        with self.off_tape():
            heat = targets.gaussians(points, classes, targets.grid_of(heats[0]), self.num_classes, divisor)
        known = points.real[..., None]
        return {
            "heat": losses.focal_of_stacks(heats, heat, hidden, ignored),
            "offset": losses.mean_of_stacks(offsets, points.cells, points.offsets, known, beta=1.0, by_object=True),
        }

    def tag_terms(self, outputs, both):
        """The losses of the embeddings of both corners (equations 4 and 5)."""
        stacks = zip(*(outputs[f"{side}_tag"] for side in CORNERS), strict=True)
        tags = [
            [losses.at(one, points.cells)[..., 0] for one, points in zip(stack, both, strict=True)] for stack in stacks
        ]
        terms = {}
        for name, loss, weight in (("pull", embeddings.pull, self.pull), ("push", embeddings.push, self.push)):
            each = [tf.reduce_sum(loss(*pair, both[0].real)) for pair in tags]
            terms[name] = weight * tf.add_n(each) / len(tags)
        return terms

    def detections(self, outputs, images, mirrored=None, pairs=()):
        """See `Detector`; with the outputs of the mirrored images also those of the pictures' flips (section 4.2)."""
        size = image_size(images)
        found = [self.found_pairs(outputs, size)]
        if mirrored is not None:
            found.append(self.turned(self.found_pairs(mirrored, size), size))
        found = self.joined(found)
        found["scores"] = tf.where((images["ids"] >= 0)[:, None], found["scores"], 0.0)
        return self.suppressed({**found, "boxes": boxes.clip(found["boxes"], images["windows"])})

    @staticmethod
    def turned(found, size):
        """What was found in mirrored images of (height, width), in pixels of the images."""
        x1, y1, x2, y2 = tf.split(found["boxes"], 4, axis=-1)
        width = tf.cast(size[1], tf.float32)
        return {**found, "boxes": tf.concat([width - x2, y1, width - x1, y2], axis=-1)}

    @staticmethod
    def joined(parts):
        """What several images of a picture show, as one dict of tensors [B, N, ...]."""
        return {name: tf.concat([part[name] for part in parts], axis=1) for name in parts[0]}

    def suppressed(self, found):
        """Detections of the pairs in `found`, see `peaks.pairs`."""
        given = found["boxes"] + BOTH_ENDS, found["scores"], found["classes"]
        rows = tf.broadcast_to(tf.range(tf.shape(found["scores"])[1])[None], tf.shape(found["scores"]))
        kept = suppress.per_class(
            *given, self.num_classes, self.suppression, self.above, self.limit, self.nms, rows=rows
        )
        rows, real = kept.pop("rows"), tf.expand_dims(kept["classes"] >= 0, -1)
        if self.merge_exponent is not None:
            rows = tf.where(kept["classes"] >= 0, rows, -1)
            corners = found["first"], found["second"]
            kept["boxes"] = suppress.averaged(kept["boxes"], rows, *given, corners, self.merge_exponent, self.above)
        kept["boxes"] = tf.where(real, kept["boxes"] - BOTH_ENDS, 0.0)
        return kept

    def found_pairs(self, outputs, size):
        """Pairs of corners, see `peaks.pairs`, with boxes in pixels of an image of (height, width)."""
        both = [self.found_corners(outputs, side) for side in CORNERS]
        found = peaks.pairs(*both, self.pairs, self.distance)
        ratio = targets.cells_per_pixel(targets.grid_of(outputs["top_left_heat"][-1]), size)
        return {**found, "boxes": found["boxes"] / ratio}

    def found_corners(self, outputs, side):
        """The best corners of a side, as `peaks.pairs` takes them, by the last stack."""
        heat, tag, offset = (outputs[f"{side}_{name}"][-1] for name in ("heat", "tag", "offset"))
        values, cells, classes = peaks.peaks(heat, self.corners)
        places = tf.cast(cells, tf.float32) + losses.at(offset, cells)
        tags = tf.squeeze(losses.at(tag, cells), -1)
        return {"places": places, "scores": tf.sigmoid(values), "classes": classes, "tags": tags, "cells": cells}

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        shape = {"stacks": 1, "widths": (32, 32, 48), "blocks": (1, 1, 1), "stem": 16}
        # Corners pair up whatever their tags, so that something is found before anything is learned.
        heads = {"pool_width": 16, "head_width": 32, "corners": 20, "distance": 100.0, "pairs": 50, "limit": 50}
        return {"classes": ["square", "disc"], "backbone": {"name": "hourglass104", **shape}, **heads,
                "resize": ("cornernet_keep", 32)}  # fmt: skip


@keras.saving.register_keras_serializable("kerasdet")
class CornerPool(Composite):
    """The block before the heads of a corner: a residual block whose first convolution is corner pooling (figure 7).

    Args:
        vertical, horizontal: the two edges, as `ops.corner_pool` names them.
        width: channels of the pooling.
        channels: of its input and output.
        norm: of all convolutions.
    """

    def __init__(self, vertical, horizontal, width, channels, norm, **kwargs):
        super().__init__(**kwargs)
        conv = {"norm": norm, "dtype": self.dtype_policy}
        self.edges = vertical, horizontal
        self.before = [Conv(width, 3, activation="relu", **conv) for _ in self.edges]
        self.after = Conv(channels, 3, **conv)
        self.shortcut = Conv(channels, 1, **conv)
        self.last = Conv(channels, 3, activation="relu", **conv)

    def call(self, x, training=False):
        pooled = tf.add_n(self.pooled(x, training))
        both = self.after(pooled, training=training) + self.shortcut(x, training=training)
        return self.last(tf.nn.relu(both), training=training)

    def pooled(self, x, training):
        """What is added: the pools of both edges."""
        return [corner_pool(conv(x, training=training), edge)
                for conv, edge in zip(self.before, self.edges, strict=True)]  # fmt: skip
