"""ExtremeNet: an object is its top, left, bottom and right point, grouped by whether a center lies between them."""

import keras
import tensorflow as tf

from kerasdet import backbones, boxes
from kerasdet.decoding import extremes as decode
from kerasdet.decoding import peaks, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import CellHead, Pixels, image_size
from kerasdet.losses import heatmaps as losses
from kerasdet.targets import extremes
from kerasdet.targets import heatmaps as targets

EXTREMES = ("top", "left", "bottom", "right")


@keras.saving.register_keras_serializable("kerasdet")
class ExtremeNet(Detector):
    """ExtremeNet (Zhou, Zhuo & Krähenbühl, CVPR 2019, arXiv:1901.08043), by default on Hourglass-104.

    Args:
        classes, backbone, backbone_weights, norm, head_width: as in `CornerNet`.
        overlap: IoU that the radius of a Gaussian keeps.
        max_objects: the first so many objects of a picture are learned.
        extremes: best points of each of the four kinds (section 4.2).
        extreme_above, center_above: least scores of the points of a group and of its center (section 4.2).
        aggregation: weight of what edge aggregation adds; 0 for none (section 4.4).
        groups: best groups that suppression sees.
        ghosts: whether boxes that hold several others are halved in score (section 4.3).
        octagons: None, or the side of the grids of masks that detections get: octagons on the points (section 4.5).
        above, suppression, limit, nms, resize, multiple: as in `CornerNet`.
        kwargs: of `Detector`.
    """

    # What is read off at each kind of point.
    points = {**dict.fromkeys(EXTREMES, ("heat", "offset")), "center": ("heat",)}
    terms = ("heat", "offset")
    needs_masks = True
    merges_flips = True
    merge = "soft"

    def __init__(
        self, classes, backbone="hourglass104", backbone_weights=None, norm="batch", head_width=256, overlap=0.7,
        max_objects=128, extremes=40, extreme_above=0.1, center_above=0.1, aggregation=0.1, groups=1000, ghosts=True,
        octagons=None, above=0.001, suppression=0.5, limit=100, nms="soft", resize=("cornernet_keep", 128), multiple=1,
        **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, multiple=multiple, nms=nms, **kwargs)
        self.backbone = backbones.build(backbone, levels=(2, 2), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization, outside=0.0)
        outputs, stacks = {"heat": self.num_classes, "offset": 2}, range(len(self.backbone.channels))
        self.heads = {
            f"{point}_{name}": [CellHead(head_width, outputs[name], -2.19 if name == "heat" else 0.0) for _ in stacks]
            for point, names in self.points.items()
            for name in names
        }
        self.class_heads = tuple(f"heads/{point}_heat/{i}/predictor" for point in self.points for i in stacks)
        self.overlap, self.max_objects, self.extremes, self.groups = overlap, max_objects, extremes, groups
        self.extreme_above, self.center_above, self.aggregation = extreme_above, center_above, aggregation
        self.ghosts, self.octagons = ghosts, octagons
        self.above, self.suppression, self.limit = above, suppression, limit

    def features(self, images, training=False):
        """Maps of stride 4, one for each stack."""
        return self.backbone(self.pixels(images), training=training)

    def network(self, images, training=False):
        maps = self.features(images, training)
        # By name, one map for each stack.
        return {name: [head(x) for head, x in zip(heads, maps, strict=True)] for name, heads in self.heads.items()}

    def learned_points(self, objects):
        """The extreme points [B, M, 4, 2] of the objects' masks, pixels (section 4.1)."""
        return extremes.of_masks(objects["masks"], objects["mask_frames"], objects["boxes"])

    def loss_terms(self, outputs, objects, images, training=True):
        """Means over the stacks: CornerNet's focal loss and offsets; a center has no offset (section 4.1)."""
        grid, size, real = targets.grid_of(outputs["center_heat"][0]), image_size(images), images["ids"][:, None] >= 0
        with self.off_tape():
            objects = targets.first(objects, self.max_objects)
            ratio, kinds = targets.cells_per_pixel(grid, size), objects["classes"]
            hidden = targets.hidden(objects, grid, size) | ~real[..., None]
            inside = targets.clipped(objects["boxes"], size)
            places = targets.clipped(tf.tile(self.learned_points(objects), [1, 1, 1, 2]), size)[..., :2]
            learned = targets.real(objects) & real & boxes.is_large(inside, 1e-6)
            sides = (inside[..., 2:] - inside[..., :2]) * ratio[:2]
            places = [*tf.unstack(places, axis=2), middle(places)]
        heat, offset = 0.0, 0.0
        for name, place in zip(self.points, places, strict=True):
            with self.off_tape():
                point = targets.points(place * ratio[:2], sides, learned, self.overlap)
                wanted = targets.gaussians(point, kinds, grid, self.num_classes)
            heat += losses.focal_of_stacks(outputs[f"{name}_heat"], wanted, hidden)
            if "offset" in self.points[name]:
                said, known = outputs[f"{name}_offset"], point.real[..., None]
                offset += losses.mean_of_stacks(said, point.cells, point.offsets, known, beta=1.0, by_object=True)
        return {"heat": heat, "offset": offset}

    def detections(self, outputs, images, mirrored=None, pairs=()):
        """See `Detector`; with the outputs of the mirrored images also those of the pictures' flips."""
        size = image_size(images)
        found = self.found_groups(outputs, size)
        if mirrored is not None:
            other = self.found_groups(mirrored, size)
            width = tf.cast(size[1], tf.float32)
            # Left is right there.
            other["points"] = tf.gather(other["points"], [0, 3, 2, 1], axis=2) * [-1.0, 1.0] + tf.stack([width, 0.0])
            found = {name: tf.concat([found[name], other[name]], axis=1) for name in found}
        low, high = tf.split(tf.expand_dims(images["windows"], 1), 2, axis=-1)
        points = tf.clip_by_value(found["points"], tf.expand_dims(low, 2), tf.expand_dims(high, 2))
        scores = tf.where((images["ids"] >= 0)[:, None], found["scores"], 0.0)
        kept = suppress.per_class(
            decode.boxes(points) + suppress.BOTH_ENDS, scores, found["classes"], self.num_classes, self.suppression,
            self.above, self.limit, self.nms, points=points,
        )  # fmt: skip
        points = kept.pop("points")
        kept["boxes"] = tf.where(tf.expand_dims(kept["classes"] >= 0, -1), kept["boxes"] - suppress.BOTH_ENDS, 0.0)
        if self.ghosts:
            kept["scores"] = decode.without_ghosts(kept)
            order = tf.math.top_k(tf.where(kept["classes"] >= 0, kept["scores"], -1.0), self.limit).indices
            count = kept.pop("counts")
            kept = {name: tf.gather(value, order, batch_dims=1) for name, value in kept.items()} | {"counts": count}
            points = tf.gather(points, order, batch_dims=1)
        if self.octagons is not None:
            kept["masks"] = decode.octagons(points, kept["boxes"], self.octagons)
        return kept

    def found_groups(self, outputs, size):
        """Groups of extreme points around a center, see `decoding.extremes.groups`, in pixels."""
        found = []
        for name in EXTREMES:
            heat, offset = outputs[f"{name}_heat"][-1], outputs[f"{name}_offset"][-1]
            scores = tf.sigmoid(heat)
            if self.aggregation:
                scores = decode.aggregated(scores, "x" if name in ("top", "bottom") else "y", self.aggregation)
            scores = tf.clip_by_value(peaks.highest(scores), 0.0, 1.0)
            values, cells, classes = peaks.peaks(scores, self.extremes, kernel=1)
            places = tf.cast(cells, tf.float32) + losses.at(offset, cells)
            found.append({"cells": cells, "places": places, "scores": values, "classes": classes})
        heat = tf.sigmoid(outputs["center_heat"][-1])
        groups = decode.groups(found, heat, self.groups, self.extreme_above, self.center_above)
        return {**groups, "points": groups["points"] / targets.cells_per_pixel(targets.grid_of(heat), size)[:2]}

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        shape = {"stacks": 1, "widths": (32, 32, 48), "blocks": (1, 1, 1), "stem": 16}
        # Groups form whatever their points' scores, so that something is found before anything is learned.
        groups = {"extremes": 16, "groups": 50, "extreme_above": 0.0, "center_above": 0.0}
        return {"classes": ["square", "disc"], "backbone": {"name": "hourglass104", **shape}, "head_width": 32,
                **groups, "limit": 20, "octagons": 14, "resize": ("cornernet_keep", 32)}  # fmt: skip


def middle(points):
    """The centers [..., 2] of groups of extreme points [..., 4, 2]: x of the left and the right, y of the others."""
    return tf.stack([points[..., 1, 0] + points[..., 3, 0], points[..., 0, 1] + points[..., 2, 1]], axis=-1) / 2
