"""CenterNet: an object is the center of its box, a peak of a heat map; size and joints are read off there."""

import keras
import tensorflow as tf

from kerasdet import backbones, boxes
from kerasdet.decoding import peaks, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import CellHead, Conv, Deconv, DeformConv, Pixels, image_size
from kerasdet.layers.composite import Composite
from kerasdet.losses import heatmaps as losses
from kerasdet.targets import heatmaps as targets

# Arguments of the networks of table 1 and figure 6; those of the release see pixels by COCO's statistics.
RESNET = {"deconvs": (256, 256, 256)}
RESNET_DCN = {"deconvs": (256, 128, 64), "deformable": True}
DLA = {"backbone": "dla34", "deconvs": (), "head_width": 256}
HOURGLASS = {"backbone": "hourglass104", "deconvs": (), "head_width": 256}

# Human pose (section 4.2), for COCO's 17 keypoints of a person.
POSE = {"keypoints": 17, "max_objects": 32}


@keras.saving.register_keras_serializable("kerasdet")
class CenterNet(Detector):
    """CenterNet, Objects as Points (Zhou, Wang & Krähenbühl, arXiv:1904.07850), by default on ResNet-18.

    `CenterNet(classes, **DLA)` and the other dicts of this module are its other networks; `**POSE` adds the joints.

    Args:
        classes: names of the classes, or their number.
        backbone: key of `backbones.BACKBONES`, or a dict with such a `name` and its arguments.
        backbone_weights: "imagenet" or a Keras weights file for the backbone, or None.
        norm: kind of `layers.norm` of the backbone.
        deconvs: channels of the deconvolutions that double the backbone's last map down to stride 4; without any, the
            backbone's maps of stride 4 are taken, one for each stack.
        deformable: whether a deformable convolution precedes each (section 5).
        neck_norm: kind of `layers.norm` of the deconvolutions.
        laterals: whether the backbone's finer maps are added; not in the paper, but small backbones need it.
        head_width: channels of the heads' first convolution: 64 on ResNets, 256 on others (section 5).
        keypoints: joints of an object, 0 for none.
        overlap: IoU that the radius of a Gaussian keeps.
        size_weight: of the loss of sizes (equation 4).
        max_objects: the first so many objects of a picture are learned.
        above: least score of a detection.
        suppression: IoU above which the weaker of two boxes of a class is dropped, where `nms` does so.
        limit: detections per image.
        clip: whether detections end at the picture's border; not in the release.
        nms: as in `Detector`; "none" in the paper.
        resize: as in `Detector`: ("centernet_keep", 32) sees pictures at their own size, as the release's tests do.
        kwargs: of `Detector`.
    """

    merges_flips = True
    merge = "soft"

    def __init__(
        self, classes, backbone="resnet18", backbone_weights=None, norm="batch", deconvs=(256, 256, 256),
        deformable=False, neck_norm="batch", laterals=False, head_width=64, keypoints=0, overlap=0.7, size_weight=0.1,
        max_objects=128, above=0.0, suppression=0.5, limit=100, clip=True, nms="none",
        resize=("centernet_fixed", 512, 512), **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, nms=nms, **kwargs)
        level = 2 + len(deconvs)
        self.backbone = backbones.build(
            backbone, levels=(2 if laterals else level, level), norm=norm, weights=backbone_weights
        )
        self.pixels = Pixels(self.backbone.normalization, outside=0.0)
        self.neck = Neck(deconvs, deformable, laterals, neck_norm) if deconvs else None
        self.stride = self.backbone.strides[-1] // 2 ** len(deconvs)
        outputs = {"heat": self.num_classes, "size": 2, "offset": 2}
        if keypoints:
            outputs |= {"joint": 2 * keypoints, "joint_heat": keypoints, "joint_offset": 2}
        self.terms = tuple(outputs)
        stacks = range(1 if deconvs else len(self.backbone.strides))
        self.heads = {
            name: [
                CellHead(head_width, count, bias=-2.19) if "heat" in name else CellHead(head_width, count, std=0.001)
                for _ in stacks
            ]
            for name, count in outputs.items()
        }
        self.class_heads = tuple(f"heads/heat/{i}/predictor" for i in stacks)
        self.num_keypoints = keypoints
        self.overlap, self.size_weight, self.max_objects = overlap, size_weight, max_objects
        self.above, self.suppression, self.limit, self.clip = above, suppression, limit, clip

    def features(self, images, training=False):
        """Maps of stride 4, one for each stack."""
        maps = self.backbone(self.pixels(images), training=training)
        return maps if self.neck is None else [self.neck(maps, training=training)]

    def network(self, images, training=False):
        maps = self.features(images, training)
        # By name, one map for each stack.
        return {name: [head(x) for head, x in zip(heads, maps, strict=True)] for name, heads in self.heads.items()}

    def loss_terms(self, outputs, objects, images, training=True):
        """Means over the stacks (equations 1 to 4)."""
        grid = targets.grid_of(outputs["heat"][0])
        real = (images["ids"] >= 0)[:, None]
        with self.off_tape():
            objects = targets.first(objects, self.max_objects)
            inside = targets.clipped(objects["boxes"] / self.stride, grid)
            centers = targets.centers(inside, targets.real(objects) & real, self.overlap)
            hidden = targets.hidden(objects, grid, image_size(images)) | ~real[..., None]
            heat = targets.gaussians(centers, objects["classes"], grid, self.num_classes)
        known = centers.real[..., None]
        if self.num_keypoints:
            known &= tf.reduce_any(objects["keypoints"][..., 2] > 0, axis=2)[..., None]
        wanted = {"size": inside[..., 2:] - inside[..., :2], "offset": centers.offsets}
        terms = {
            "heat": losses.focal_of_stacks(outputs["heat"], heat, hidden),
            **{
                name: losses.mean_of_stacks(outputs[name], centers.cells, value, known)
                for name, value in wanted.items()
            },
        }
        if self.num_keypoints:
            terms |= self._joint_terms(outputs, objects, centers, grid, hidden)
        return {**terms, "size": self.size_weight * terms["size"]}

    def _joint_terms(self, outputs, objects, centers, grid, hidden):
        """Joints by their distance from the center's cell, and each on a heat map of its own (section 4.2)."""
        count, most, joints = tf.shape(hidden)[0], tf.shape(objects["classes"])[1], self.num_keypoints
        places, seen = objects["keypoints"][..., :2] / self.stride, objects["keypoints"][..., 2] > 0
        edge = tf.cast(tf.stack([grid[1], grid[0]]), tf.float32)
        known = seen & tf.reduce_all((places >= 0) & (places < edge), axis=-1) & centers.real[..., None]
        places = tf.where(known[..., None], places, 0.0)
        from_center = places - tf.cast(centers.cells, tf.float32)[:, :, None]
        known_numbers = tf.reshape(tf.repeat(known, 2, axis=2), [count, most, 2 * joints])
        flat = tf.reshape(places, [count, most * joints, 2])
        cells = tf.cast(flat, tf.int32)
        known = tf.reshape(known, [count, most * joints])
        with self.off_tape():
            radii = tf.repeat(centers.radii, joints, axis=1)
            points = targets.Points(known, cells, flat - tf.floor(flat), radii)
            kinds = tf.tile(tf.range(joints)[None], [count, most])
            heat = targets.gaussians(points, kinds, grid, joints)
        from_center = tf.reshape(from_center, [count, most, 2 * joints])
        return {
            "joint": losses.mean_of_stacks(outputs["joint"], centers.cells, from_center, known_numbers),
            "joint_heat": losses.focal_of_stacks(outputs["joint_heat"], heat, hidden),
            "joint_offset": losses.mean_of_stacks(outputs["joint_offset"], cells, points.offsets, known[..., None]),
        }

    def detections(self, outputs, images, mirrored=None, pairs=()):
        """See `Detector`; with the outputs of the mirror image also those of the picture's flip (section 5).

        Args:
            outputs, images: as in `Detector`.
            mirrored: None, or what `network` returned for the mirrored images.
            pairs: of each keypoint the number of its mirror image.
        """
        said = {name: stacks[-1] for name, stacks in outputs.items()}
        score = tf.sigmoid
        if mirrored is not None:
            said, score = self._both(said, {name: stacks[-1] for name, stacks in mirrored.items()}, pairs), tf.nn.relu
        values, cells, classes = peaks.peaks(said["heat"], self.limit)
        real = (images["ids"] >= 0)[:, None]
        scores = tf.where(real, score(values), 0.0)
        corner = tf.cast(cells, tf.float32)
        found = peaks.boxes(corner + losses.at(said["offset"], cells), losses.at(said["size"], cells))
        more = {}
        if self.num_keypoints:
            more["keypoints"] = self._joints(said, cells, found, scores, score) * [self.stride, self.stride, 1.0]
        found = suppress.per_class(
            found * self.stride, scores, classes, self.num_classes, self.suppression, self.above, self.limit, self.nms,
            **more,
        )  # fmt: skip
        if self.clip:
            real = tf.expand_dims(found["classes"] >= 0, -1)
            found["boxes"] = tf.where(real, boxes.clip(found["boxes"], images["windows"]), 0.0)
        return found

    def _joints(self, said, cells, found, scores, score):
        """Joints [B, N, P, 3] in cells."""
        count, number, joints = tf.shape(cells)[0], cells.shape[1] or tf.shape(cells)[1], self.num_keypoints
        corner = tf.expand_dims(tf.cast(cells, tf.float32), 2)
        regressed = tf.reshape(losses.at(said["joint"], cells), [count, number, joints, 2]) + corner
        values, places = peaks.of_each(said["joint_heat"], self.limit)
        flat = tf.reshape(places, [count, -1, 2])
        places = tf.cast(flat, tf.float32) + losses.at(said["joint_offset"], flat)
        places = tf.reshape(places, [count, -1, joints, 2])
        return peaks.joints(regressed, found, (places, score(values)), scores)

    def _both(self, said, mirrored, pairs):
        """Means of a picture's and its mirror image's maps; offsets in cells are the picture's, as in the release."""
        mirrored = {name: tf.reverse(value, [2]) for name, value in mirrored.items()}
        for name in ("heat", "joint_heat"):
            if name in said:
                said[name], mirrored[name] = tf.sigmoid(said[name]), tf.sigmoid(mirrored[name])
        if self.num_keypoints:
            mirrored["joint_heat"] = tf.gather(mirrored["joint_heat"], pairs, axis=-1)
            numbers = [2 * pair + axis for pair in pairs for axis in (0, 1)]
            mirrored["joint"] = tf.gather(mirrored["joint"], numbers, axis=-1) * ([-1.0, 1.0] * len(pairs))
        return {
            name: value if name.endswith("offset") else (value + mirrored[name]) / 2 for name, value in said.items()
        }

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {"backbone": {"name": "resnet10", "width": 16}, "deconvs": (32, 32, 32), "head_width": 32}
        return {"classes": ["square", "disc"], **network, "keypoints": 0, "resize": ("centernet_keep", 32)}


@keras.saving.register_keras_serializable("kerasdet")
class Neck(Composite):
    """Deconvolutions that double a map each (section 5); with `laterals` a 1x1 convolution of a finer map is added."""

    def __init__(self, channels, deformable, laterals, norm, **kwargs):
        super().__init__(**kwargs)
        conv = {"norm": norm, "activation": "relu", "dtype": self.dtype_policy}
        self.deforms = [DeformConv(count, **conv) for count in channels] if deformable else []
        self.deconvs = [Deconv(count, **conv) for count in channels]
        self.laterals = [Conv(count, 1, **conv) for count in channels] if laterals else []

    def call(self, maps, training=False):
        x = maps[-1]
        for i, deconv in enumerate(self.deconvs):
            x = deconv(self.deforms[i](x, training=training) if self.deforms else x, training=training)
            if self.laterals:
                x += self.laterals[i](maps[-2 - i], training=training)
        return x
