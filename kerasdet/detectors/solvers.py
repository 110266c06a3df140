"""What R-CNN and SPP-net fit to features of regions: SVMs with hard negatives, their scores, and ridge regression."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import coders, linear

# Pictures by which features are scaled and scores are fitted.
SAMPLE = 200


class RegionSolvers:
    """The solvers of a detector with `pool5`, `fc7` and `on_regions`: they set the layers `svm`, `ridge` and `scores`.

    Features come from the proposals of a data set's records; what is learned of them ends as kernels and biases.
    """

    solvers = ("svm", "ridge")

    def outputs_of(self, head):
        """See `Detector`; what the solvers set knows no background."""
        return self.class_outputs if head == "predictor" else self.classes

    def solve_svm(
        self, train, cached, c=linear.C, positive_weight=linear.POSITIVE_WEIGHT, norm=20.0, negative=0.3,
        least=-1.0001, evicted=-1.2, every=2000, passes=1,
    ):  # fmt: skip
        """Fits an SVM for each class to fc7 (R-CNN, section 2.3): the objects against regions far from them.

        Args:
            train, cached: see `Detector.solve`.
            c, positive_weight: of `linear.svm`.
            norm: mean norm that features are scaled to.
            negative, least, evicted, every: of `linear.Mining`.
            passes: over the pictures to mine hard negatives; 0 takes those of the first picture alone.
        """
        # The objects' own features come first.
        train = _with_proposals(train, lambda record: np.concatenate([_objects(record)[0], record.proposals]))
        stored = cached("fc7", train, lambda images: self._described(images, "fc7"), _own)
        some = stored.records[:: -(-len(stored) // SAMPLE)]
        scale = norm / max(np.mean(np.concatenate([_norms(stored[one]["fc7"]) for one in some])), 1e-6)
        positives = [[np.zeros([0, self.svm.kernel.shape[0]])] for _ in self.classes]
        for record, arrays in stored:
            for row, kind in enumerate(_objects(record)[1]):
                positives[kind].append(scale * arrays["fc7"][row : row + 1])
        numbers = {"least": least, "negative": negative, "evicted": evicted, "every": every}
        mines = [
            linear.Mining(np.concatenate(own), c=c, positive_weight=positive_weight, **numbers) for own in positives
        ]
        for _ in range(max(passes, 1)):
            for number, record in enumerate(stored.records if passes else stored.records[:1]):
                features, overlaps = scale * stored[record]["fc7"], self._overlaps(record)
                for kind, mine in enumerate(mines):
                    mine.see(number, features, overlaps[:, kind])
        for mine, name in zip(mines, self.classes, strict=True):
            mine.finish()
            counts = f"{len(mine.positives)} objects, {mine.seen} negatives of which {len(mine.negatives)} are kept"
            print(f"svm of {name}: {counts}, trained {mine.trainings} times", flush=True)
        self.svm.kernel.assign(scale * np.stack([mine.kernel for mine in mines], axis=1))
        self.svm.bias.assign([mine.bias for mine in mines])
        self._fit_scores([(stored[one]["fc7"], self._overlaps(one)) for one in some])

    def _fit_scores(self, found):
        """A score is the share of regions of such a margin that overlap an object by half."""
        kernel, bias = self.svm.kernel.numpy(), self.svm.bias.numpy()
        margins = np.concatenate([features @ kernel + bias for features, _ in found])
        overlaps = np.concatenate([overlaps for _, overlaps in found])
        fitted = []
        for kind in range(self.num_classes):
            sure = (overlaps[:, kind] < 0.3) | (overlaps[:, kind] >= 0.5)
            fitted.append(linear.probabilities(margins[sure, kind], overlaps[sure, kind] >= 0.5))
        self.scores.assign(*zip(*fitted, strict=True))

    def solve_ridge(self, train, cached, strength=1000.0, overlap=0.6, norm=20.0):
        """Fits the boxes of each class to pool5 of the proposals near its objects (R-CNN, appendix C).

        Args:
            train, cached: see `Detector.solve`.
            strength: lambda of `linear.ridge`.
            overlap: IoU with an object above which a proposal learns it.
            norm: mean norm that features are scaled to.

        Raises:
            ValueError: no proposal is near an object.
        """

        def near(record):
            overlaps = np.asarray(box.iou(record.proposals, _objects(record)[0])).max(1, initial=0)
            return record.proposals[overlaps > overlap]

        train = _with_proposals(train, near)
        count = sum(len(record.proposals) for record in train.records)
        if not count:
            raise ValueError(f"{train.name}: no proposal overlaps an object by more than {overlap}; make better ones.")
        stored = cached("pool5", train, lambda images: self._described(images, "pool5"), _own)
        features, targets, kinds = [], [], []
        for record, arrays in stored:
            if len(record.proposals):
                boxes, classes = _objects(record)
                best = np.asarray(box.iou(record.proposals, boxes)).argmax(1)
                features.append(arrays["pool5"])
                targets.append(np.asarray(coders.encode(record.proposals, boxes[best])))
                kinds.append(classes[best])
        features, targets, kinds = map(np.concatenate, (features, targets, kinds))
        scale = norm / max(_norms(features).mean(), 1e-6)
        fitted = [
            linear.ridge(scale * features[kinds == kind], targets[kinds == kind], strength)
            for kind in range(self.num_classes)
        ]
        kernels, biases = zip(*fitted, strict=True)
        kernel = scale * np.stack(kernels, axis=-1)  # [P, 4, K]
        self.ridge.kernel.assign(kernel.reshape(len(kernel), -1))
        self.ridge.bias.assign(np.stack(biases, axis=-1).ravel())
        counts = np.bincount(kinds, minlength=self.num_classes).tolist()
        print(f"ridge: {count} proposals, by class {counts}", flush=True)

    def _described(self, images, kind):
        """The features "pool5" or "fc7" of a batch's proposals."""
        outputs = self.network(images)

        def features(rows):
            pool5 = self.pool5(outputs, rows)
            return {kind: pool5 if kind == "pool5" else self.fc7(pool5)}

        return self.on_regions(features, outputs["proposals"])

    def _overlaps(self, record):
        """[R, K] greatest IoU of every proposal with an object of each class; NaN under a crowd, which says nothing."""
        boxes, classes = _objects(record)
        overlaps = np.asarray(box.iou(record.proposals, boxes))
        found = [overlaps[:, classes == kind].max(1, initial=0) for kind in range(self.num_classes)]
        hidden = np.asarray(box.ioa(record.proposals, record.boxes[record.crowds])).max(1, initial=0) > 0.5
        return np.where(hidden[:, None], np.nan, np.stack(found, axis=1))


class Scores(keras.layers.Layer):
    """Scores of regions: sigmoids of the SVMs' margins, or the softmax of classes whose SVM is not fitted.

    Args:
        classes: K.
    """

    def __init__(self, classes, **kwargs):
        super().__init__(**{**kwargs, "trainable": False, "autocast": False})
        self.classes = classes
        shape = {"shape": (classes,), "dtype": "float32", "autocast": False}
        self.slope = self.add_weight(name="slope", initializer="ones", **shape)
        self.offset = self.add_weight(name="offset", initializer="zeros", **shape)
        self.fitted = self.add_weight(name="fitted", initializer="zeros", **shape)

    def assign(self, slope, offset):
        """Takes what SVMs were fitted.

        Args:
            slope, offset: [K] of `linear.probabilities`.
        """
        self.slope.assign(slope)
        self.offset.assign(offset)
        self.fitted.assign([1.0] * self.classes)

    def call(self, logits, margins):
        """Scores.

        Args:
            logits: [B, R, 1 + K] float32 of the softmax, background first.
            margins: [B, R, K] float32.

        Returns:
            [B, R, K] float32, 0...1.
        """
        margins = tf.sigmoid(margins * self.slope + self.offset)
        return tf.where(tf.convert_to_tensor(self.fitted) > 0, margins, tf.nn.softmax(logits)[..., 1:])

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}


def _with_proposals(dataset, proposals):
    """A data set whose records have the proposals [R, 4] that a function makes of each."""
    records = [dataclasses.replace(one, proposals=np.float32(proposals(one))) for one in dataset.records]
    return dataclasses.replace(dataset, records=records)


def _objects(record):
    """Boxes [M, 4] and classes [M] of a record's objects that are no crowds."""
    return record.boxes[~record.crowds], record.classes[~record.crowds]


def _own(record, arrays):
    """The features of a record's own proposals, without the padding of its batch."""
    return {name: rows[: len(record.proposals)] for name, rows in arrays.items()}


def _norms(features):
    return np.linalg.norm(features, axis=1)
