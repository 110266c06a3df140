"""CornerNet-Saccade: attention maps of a small picture say where to look closer; CornerNet runs on those crops."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import boxes
from kerasdet.decoding import peaks, saccades
from kerasdet.detectors.cornernet import CORNERS, CornerNet
from kerasdet.layers import CellHead, image_size, in_blocks
from kerasdet.losses import heatmaps as losses
from kerasdet.targets import heatmaps as targets

# Of each attention map, from the coarsest: pixels of a cell over those of the corners' maps, and the least and the
# greatest longer side of its objects, pixels (section 3.1 and the release).
ATTENTION = ((4, (96, 256)), (2, (32, 96)), (1, (0, 32)))
# First looks up to this zoom say where to look, and nothing is looked at with a greater one than the second.
ZOOMED, MOST = 2.0, 4.0


@keras.saving.register_keras_serializable("kerasdet")
class CornerNetSaccade(CornerNet):
    """CornerNet-Saccade (CornerNet-Lite, Law et al., BMVC 2020, arXiv:1904.08900, section 3), on Hourglass-54.

    `network` sees a picture as it is: in training that is a crop. Detecting looks at views of `side` pixels instead.

    Args:
        classes, backbone, backbone_weights, norm, pool_width, head_width, overlap, distance: as in `CornerNet`.
        side: of every view, pixels (section 3.3).
        looks: longer sides of the whole picture in the first views, pixels (section 3.1).
        zooms: of places on the attention maps of large, medium and small objects (section 3.2).
        attend: score above which a cell of an attention map is a place to look at (section 3.1).
        stays: score above which a detection of the first look stays.
        crops: most places that are looked at (section 3.2).
        refine: whether sure detections of the first look are looked at again, and the best places, none near another,
            are taken; else, as in the release, the first ones of the attention maps.
        least: objects whose longer side is shorter are not learned, nor what lies around their corners, pixels.
        corners, pairs: best corners and pairs of a view.
        border: whether corners in a view's outermost cells count, where it cuts objects off.
        block: views that run at a time, which bounds the memory.
        clip: whether detections end at the picture's border; not in the release.
        nms, resize: as in `Detector`.
        kwargs: of `CornerNet`.
    """

    terms = (*CornerNet.terms, "attention")
    merges_flips = False

    def __init__(
        self, classes, backbone="hourglass54", backbone_weights=None, norm="batch", pool_width=128, head_width=256,
        overlap=0.5, distance=0.3, side=255, looks=(192, 255), zooms=(1, 2, 4), attend=0.3, stays=0.3, crops=30,
        refine=True, least=16, corners=12, pairs=12, border=False, block=8, clip=True, nms=None, resize=("keep",),
        **kwargs,
    ):  # fmt: skip
        network = {"backbone": backbone, "backbone_weights": backbone_weights, "norm": norm, "overlap": overlap}
        decoding = {"corners": corners, "pairs": pairs, "distance": distance, "resize": resize}
        nms = nms or {"name": "soft", "sigma": 0.7}
        super().__init__(
            classes, pool_width=pool_width, head_width=head_width, **network, **decoding, nms=nms, **kwargs
        )
        self.attention = [[CellHead(head_width, 1, -2.19) for _ in ATTENTION] for _ in self.backbone.channels]
        self.side, self.looks, self.zooms, self.attend, self.stays = side, tuple(looks), tuple(zooms), attend, stays
        self.crops, self.refine, self.least, self.block, self.clip = crops, refine, least, block, clip
        self.border = border

    def network(self, images, training=False):
        maps, levels = self.backbone(self.pixels(images), training=training, merged=True)
        attention = [
            [head(x) for head, x in zip(heads, merged[-len(ATTENTION) :], strict=True)]
            for heads, merged in zip(self.attention, levels, strict=True)
        ]
        return {**self.said(maps, training), "attention": attention}

    def loss_terms(self, outputs, objects, images, training=True):
        """CornerNet's, and the focal loss of the attention maps (section 3.1)."""
        with self.off_tape():
            objects, inside, real, hidden = self.in_cells(outputs, objects, images)
            learned = real & (targets.longer_sides(objects["boxes"], image_size(images)) >= self.least)
            both = targets.corners(inside, learned, self.overlap, self.corrected)
            ignored = self.ignored(inside, real & ~learned, objects["classes"], hidden)
        terms = [
            self.point_terms(outputs, side, points, objects["classes"], hidden, ignored=around)
            for side, points, around in zip(CORNERS, both, ignored, strict=True)
        ]
        found = {**losses.summed(terms), **self.tag_terms(outputs, both)}
        return {**found, "attention": self.attention_term(outputs["attention"], objects, real, images)}

    def ignored(self, inside, small, classes, hidden):
        """Where heat maps learn nothing: around the corners of small objects, [B, rows, columns, K] each."""
        both = targets.corners(inside, small, self.overlap, self.corrected)
        grid = targets.grid_of(hidden)
        return [targets.gaussians(points, classes, grid, self.num_classes) > 0 for points in both]

    def attention_term(self, stacks, objects, real, images):
        """The focal loss of all attention maps; the release divides by the number of stacks twice."""
        size, found = image_size(images), []
        for i, maps in enumerate(zip(*stacks, strict=True)):
            with self.off_tape():
                grid, stride = targets.grid_of(maps[0]), ATTENTION[i][0] * self.backbone.strides[0]
                heat = targets.marked(objects["boxes"], real, size, grid, stride, ATTENTION[i][1])
                hidden = targets.hidden(objects, grid, size) | (images["ids"] < 0)[:, None, None]
            found.append(losses.focal_of_stacks(maps, heat, hidden))
        return tf.add_n(found) / len(stacks)

    def detections(self, outputs, images):
        """See `Detector`: what the first looks find, and what crops find (section 3.3).

        `outputs` are not needed: they are of the picture as it is. A graph leaves their computation out.
        """
        start, end = tf.split(tf.round(images["windows"]), 2, axis=-1)
        sizes = tf.maximum(tf.reverse(end - start, [-1]), 1.0)  # height and width of the pictures
        looks = self.first_looks(sizes)
        found, scores = self.look(images, looks)
        places = self.places(looks, scores, sizes)
        if self.refine:
            crops = saccades.apart(tf.concat([places, saccades.around(found)], axis=1), self.crops)
        else:
            crops = saccades.first(places, self.crops)
        closer, _ = self.look(images, crops[..., :3], crops[..., 3] > 0)
        found["scores"] = tf.where(found["scores"] > self.stays, found["scores"], 0.0)
        found = self.joined([found, closer])
        found["boxes"] += tf.expand_dims(tf.concat([start, start], -1), 1)
        found["scores"] = tf.where((images["ids"] >= 0)[:, None], found["scores"], 0.0)
        found = self.suppressed(found)
        if self.clip:
            real = tf.expand_dims(found["classes"] >= 0, -1)
            found["boxes"] = tf.where(real, boxes.clip(found["boxes"], images["windows"]), 0.0)
        return found

    def first_looks(self, sizes):
        """Views [B, L, 3] of whole pictures: y and x of their center, pixels of the picture, and the zoom."""
        zoom = tf.constant(self.looks, tf.float32) / tf.reduce_max(sizes, axis=-1, keepdims=True)
        center = tf.broadcast_to(tf.expand_dims(sizes // 2, 1), [tf.shape(sizes)[0], len(self.looks), 2])
        return tf.concat([center, tf.expand_dims(zoom, -1)], axis=-1)

    def look(self, images, views, real=None):
        """Runs the network on views of the pictures, some at a time.

        Args:
            images: the images dict of `contract`.
            views: [B, L, 3] float32, see `first_looks`.
            real: [B, L] bool, or None for all.

        Returns:
            The pairs of all views of a picture, see `peaks.pairs`, [B, L * pairs], boxes in pixels of the picture; and
            scores of the cells of the attention maps, [B, L, cells], 0 where one is no peak.
        """
        pixels, corners = tf.cast(images["pixels"], tf.float32), tf.cast(tf.round(images["windows"]), tf.int32)
        count, number = tf.shape(views)[0], views.shape[1]
        flat = tf.reshape(views, [-1, 3])
        rows = tf.range(count * number) if real is None else tf.cast(tf.where(tf.reshape(real, [-1]))[:, 0], tf.int32)

        def run(rows):
            view = tf.gather(flat, rows)
            seen = saccades.zoomed(pixels, corners, rows // number, view, self.side)
            whole = tf.constant([[0.0, 0.0, self.side, self.side]] * self.block)
            outputs = self.network({"pixels": seen, "windows": whole})
            found = self.found_pairs(outputs, (self.side, self.side))
            found["boxes"] = saccades.in_picture(found["boxes"], view, self.side)
            scores = [tf.reshape(tf.sigmoid(peaks.highest(one)), [self.block, -1]) for one in outputs["attention"][-1]]
            found = {name: tf.reshape(v, [self.block, self.pairs, *v.shape[2:]]) for name, v in found.items()}
            return {**found, "attention": tf.reshape(tf.concat(scores, 1), [self.block, len(self.cells())])}

        pair = tf.TensorSpec([self.block, self.pairs])
        each = {"scores": pair, "first": pair, "second": pair, "classes": tf.TensorSpec(pair.shape, tf.int32)}
        each |= {"boxes": tf.TensorSpec([*pair.shape, 4]), "attention": tf.TensorSpec([self.block, len(self.cells())])}
        found = in_blocks(run, rows, self.block, each)
        if real is not None:
            found = {name: tf.scatter_nd(rows[:, None], v, [count * number, *v.shape[1:]]) for name, v in found.items()}
        scores = tf.reshape(found.pop("attention"), [count, number, -1])
        return {n: tf.reshape(v, [count, number * self.pairs, *v.shape[2:]]) for n, v in found.items()}, scores

    def found_corners(self, outputs, side):
        """See `CornerNet`; by default none in the outermost cells."""
        found = super().found_corners(outputs, side)
        if self.border:
            return found
        rows, columns = targets.grid_of(outputs[f"{side}_heat"][-1])
        edge = [0, 0] if side == "top_left" else [columns - 1, rows - 1]
        outermost = tf.reduce_any(found["cells"] == edge, axis=-1)
        return {**found, "scores": tf.where(outermost, 0.0, found["scores"])}

    def cells(self):
        """Of all cells of a view's attention maps y and x, pixels of the view, and the zoom: [cells, 3] float32."""
        stride = self.backbone.strides[0]
        found = []
        for (times, _), zoom in zip(ATTENTION, self.zooms, strict=True):
            steps = np.arange(-(-self.side // (times * stride))) * times * stride
            y, x = (one.ravel() for one in np.meshgrid(steps, steps, indexing="ij"))
            found.append(np.stack([y, x, np.full(len(y), zoom)], axis=-1))
        return np.float32(np.concatenate(found))

    def places(self, looks, scores, sizes):
        """Where to look closer (section 3.2).

        Args:
            looks: [B, L, 3], the first views.
            scores: [B, L, cells], see `look`.
            sizes: [B, 2] float32, height and width of the pictures.

        Returns:
            [B, L * cells, 4] float32: y, x and zoom as in `first_looks`, and the score, 0 where there is none.
        """
        cells, zoom = tf.constant(self.cells()), tf.expand_dims(looks[..., 2], -1)
        origin = tf.cast(saccades.windows(looks, self.side)[0], tf.float32)
        y = cells[:, 0] / zoom + origin[..., :1]
        x = cells[:, 1] / zoom + origin[..., 1:]
        closer = cells[:, 2] * zoom
        inside = (y >= 0) & (x >= 0) & (y < sizes[:, None, :1]) & (x < sizes[:, None, 1:])
        real = (scores > self.attend) & inside & (zoom <= ZOOMED) & (closer <= MOST)
        found = tf.stack([y, x, closer, tf.where(real, scores, 0.0)], axis=-1)
        return tf.reshape(found, [tf.shape(looks)[0], -1, 4])

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        backbone = {"name": "hourglass54", "stacks": 1, "widths": (32, 32, 32, 48), "stem": 16}
        views = {"side": 96, "looks": (96,), "crops": 3, "block": 2, "corners": 12, "pairs": 12}
        # Everything is looked at, so that something is found before anything is learned.
        rules = {"attend": 0.0, "stays": 0.0, "border": True, "norm": "group"}
        return {**super().tiny(), "backbone": backbone, **views, **rules, "resize": ("keep",)}
