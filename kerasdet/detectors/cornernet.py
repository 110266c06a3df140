"""CornerNet: an object is a pair of corners, found by corner pooling on heat maps and paired by their embeddings."""

import keras
import tensorflow as tf

from kerasdet import backbones, boxes
from kerasdet.decoding import peaks, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import CellHead, Conv, Pixels, image_size
from kerasdet.layers.composite import Composite
from kerasdet.losses import embeddings
from kerasdet.losses import heatmaps as losses
from kerasdet.ops import corner_pool
from kerasdet.targets import heatmaps as targets
from kerasdet.targets.assign import over_replicas

# Each corner looks along the two edges that meet in it (figure 2).
CORNERS = {"top_left": ("top", "left"), "bottom_right": ("bottom", "right")}

# Arguments of CornerNet-Squeeze (CornerNet-Lite, Law et al., arXiv:1904.08900, section 4).
SQUEEZE = {"backbone": "hourglass_squeeze", "head_size": 1, "corners": 20, "pairs": 100}

# The release measures sides of boxes with both of their end pixels.
BOTH_ENDS = (0.0, 0.0, 1.0, 1.0)


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
        self.pools = {side: [CornerPool(*edges, pool_width, one, norm) for one in channels]
                      for side, edges in CORNERS.items()}  # fmt: skip
        self.heads = {
            f"{side}_{name}": [
                CellHead(head_width, count, -2.19 if name == "heat" else 0.0, head_size) for _ in channels
            ]
            for side in CORNERS
            for name, count in outputs.items()
        }
        self.class_heads = tuple(f"heads/{side}_heat/{i}/predictor" for side in CORNERS for i in range(len(channels)))
        self.overlap, self.corrected, self.pull, self.push = overlap, corrected, pull, push
        self.max_objects, self.corners, self.distance, self.pairs = max_objects, corners, distance, pairs
        self.above, self.suppression, self.limit = above, suppression, limit
        self.merge_exponent = merge_exponent

    def features(self, images, training=False):
        """Maps of stride 4, one for each stack."""
        return self.backbone(self.pixels(images), training=training)

    def network(self, images, training=False):
        maps = self.features(images, training)
        pooled = {
            side: [pool(x, training=training) for pool, x in zip(pools, maps, strict=True)]
            for side, pools in self.pools.items()
        }
        # By corner and name, one map for each stack.
        return {
            name: [head(x) for head, x in zip(heads, pooled[name.rpartition("_")[0]], strict=True)]
            for name, heads in self.heads.items()
        }

    def loss_terms(self, outputs, objects, images, training=True):
        """Means over the stacks (equations 1 to 5); embeddings' losses are sums over the images, as in the release."""
        grid, stacks = grid_of(outputs), len(self.backbone.strides)
        size, real = image_size(images), (images["ids"] >= 0)[:, None]
        with self.off_tape():
            objects = targets.first(objects, self.max_objects)
            ratio = cells_per_pixel(grid, size)
            edge = tf.cast(tf.stack([size[1], size[0]] * 2), tf.float32) - 1.0
            inside = tf.clip_by_value(objects["boxes"], 0.0, edge) * ratio
            learned = targets.real(objects) & real
            both = targets.corners(inside, learned, self.overlap, self.corrected)
            hidden = targets.hidden(objects, grid, size) | ~real[..., None]
        found, tags = dict.fromkeys(self.terms, 0.0), []
        for side, points in zip(CORNERS, both, strict=True):
            with self.off_tape():
                heat = targets.gaussians(points, objects["classes"], grid, self.num_classes)
            peak = heat == 1
            counted = peak | ~hidden[..., None]
            count = tf.maximum(over_replicas(tf.reduce_sum(tf.cast(peak, tf.float32))), 1.0)
            known = points.real[..., None]
            for i in range(stacks):
                each = tf.where(counted, losses.focal(outputs[f"{side}_heat"][i], heat), 0.0)
                found["heat"] += tf.reduce_sum(each) / (count * stacks)
                said = losses.at(outputs[f"{side}_offset"][i], points.cells)
                found["offset"] += losses.mean(said, points.offsets, known, beta=1.0, by_object=True) / stacks
            tags.append([losses.at(said, points.cells)[..., 0] for said in outputs[f"{side}_tag"]])
        for name, loss, weight in (("pull", embeddings.pull, self.pull), ("push", embeddings.push, self.push)):
            each = [tf.reduce_sum(loss(*pair, both[0].real)) for pair in zip(*tags, strict=True)]
            found[name] = weight * tf.add_n(each) / stacks
        return found

    def detections(self, outputs, images, mirrored=None, pairs=()):
        """See `Detector`; with the outputs of the mirrored images also those of the pictures' flips (section 4.2)."""
        size = image_size(images)
        found = [self._pairs(outputs, size)]
        if mirrored is not None:
            other = self._pairs(mirrored, size)
            x1, y1, x2, y2 = tf.split(other["boxes"], 4, axis=-1)
            width = tf.cast(size[1], tf.float32)
            found.append({**other, "boxes": tf.concat([width - x2, y1, width - x1, y2], axis=-1)})
        found = {name: tf.concat([one[name] for one in found], axis=1) for name in found[0]}
        found["scores"] = tf.where((images["ids"] >= 0)[:, None], found["scores"], 0.0)
        found["boxes"] = boxes.clip(found["boxes"], images["windows"]) + BOTH_ENDS
        return self.suppressed(found)

    def suppressed(self, found):
        """Detections of the pairs in `found`, see `peaks.pairs`; their boxes have `BOTH_ENDS`."""
        given = found["boxes"], found["scores"], found["classes"]
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

    def _pairs(self, outputs, size):
        """Pairs of corners, see `peaks.pairs`, with boxes in pixels."""
        both = []
        for side in CORNERS:
            heat, tag, offset = (outputs[f"{side}_{name}"][-1] for name in ("heat", "tag", "offset"))
            values, cells, classes = peaks.peaks(heat, self.corners)
            places = tf.cast(cells, tf.float32) + losses.at(offset, cells)
            tags = tf.squeeze(losses.at(tag, cells), -1)
            both.append({"places": places, "scores": tf.sigmoid(values), "classes": classes, "tags": tags})
        found = peaks.pairs(*both, self.pairs, self.distance)
        return {**found, "boxes": found["boxes"] / cells_per_pixel(grid_of(outputs), size)}

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        shape = {"stacks": 1, "widths": (32, 32, 48), "blocks": (1, 1, 1), "stem": 16}
        # Corners pair up whatever their tags, so that something is found before anything is learned.
        heads = {"pool_width": 16, "head_width": 32, "corners": 20, "distance": 100.0, "pairs": 50, "limit": 50}
        return {"classes": ["square", "disc"], "backbone": {"name": "hourglass104", **shape}, **heads,
                "resize": ("cornernet_keep", 32)}  # fmt: skip


def grid_of(outputs):
    """(rows, columns) of the maps: ints if static, else scalar tensors."""
    heat = outputs["top_left_heat"][0]
    return [heat.shape[axis] or tf.shape(heat)[axis] for axis in (1, 2)]


def cells_per_pixel(grid, size):
    """[4] float32 along x, y, x, y: the map's cells over the image's pixels, 128 / 511 in the release."""
    ratio = [tf.cast(cells, tf.float32) / tf.cast(side, tf.float32) for cells, side in zip(grid, size, strict=True)]
    return tf.stack([ratio[1], ratio[0]] * 2)


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
        pooled = [corner_pool(conv(x, training=training), edge)
                  for conv, edge in zip(self.before, self.edges, strict=True)]  # fmt: skip
        both = self.after(tf.add_n(pooled), training=training) + self.shortcut(x, training=training)
        return self.last(tf.nn.relu(both), training=training)
