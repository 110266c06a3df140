"""Runs a detector over a data set and scores it, holding one batch of images at a time."""

import itertools

import keras
import tensorflow as tf

from kerasdet import images as image
from kerasdet import tiles as tile
from kerasdet.data import pipeline, proposals
from kerasdet.data import tiles as windowed
from kerasdet.evaluation import coco


class Evaluator:
    """Scores a detector as often as it is called.

    Args:
        model: a `Detector`.
        dataset: a `Dataset` with the model's classes.
        batch_size: images at once.
        tiles: None, or (size, overlap): the detector sees the windows of `data.tiles`, loss terms are those of the
            windows, and merged detections are scored on the whole pictures.

    Raises:
        ValueError: the data set has other classes than the model, or none of the proposals that it needs.
    """

    def __init__(self, model, dataset, batch_size=4, tiles=None):
        if tuple(dataset.classes) != tuple(model.classes):
            raise ValueError(
                f"the model knows the classes {model.classes}, but {dataset.name} has {tuple(dataset.classes)}."
            )
        proposals.require(model, dataset)
        self.model = model
        self.dataset = dataset
        self.tiles = tiles
        seen = dataset if tiles is None else windowed.dataset(dataset, *tiles)
        self.batches = pipeline.load(seen, model.preprocess, batch_size)
        self.truth = coco.ground_truth(dataset)
        self.results = []
        self.evaluation = None
        self._step = tf.function(self._one_batch, input_signature=self.batches.element_spec)

    def __call__(self):
        """Runs once over the data.

        Returns:
            Dict of the mean of every loss term, "loss", the numbers of `coco.score`, and "threshold" and "F1" of
            `coco.threshold`. `results` then holds COCO's result dicts, `evaluation` the COCOeval.
        """
        with pipeline.named(self.dataset):
            terms = self._run()
        self.evaluation = coco.evaluate(self.truth, self.results)
        threshold, f1 = coco.threshold(self.evaluation)
        numbers = {**coco.summary(self.evaluation), "threshold": threshold, "F1": f1}
        return {"loss": sum(terms.values()), **terms, **numbers}

    def found(self, image_id):
        """COCO's result dicts of one image, best score first."""
        return sorted((one for one in self.results if one["image_id"] == image_id), key=lambda one: -one["score"])

    def _run(self):
        """Fills `results`; returns the mean of every loss term."""
        self.results = []
        windows, sums, count = [], {}, 0
        progress = keras.utils.Progbar(len(self.batches), unit_name="batch")
        for images, objects in self.batches:
            terms, found = self._step(images, objects)
            real = int(tf.reduce_sum(tf.cast(images["ids"] >= 0, tf.int32)))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) * real
            count += real
            found = {name: values.numpy() for name, values in found.items()}
            if self.tiles is None:
                self.results += coco.results(images["ids"].numpy(), found, self.dataset)
            else:
                windows += [
                    {k: found[k][i, : found["counts"][i]] for k in found.keys() - {"counts"}} for i in range(real)
                ]
            progress.add(1)
        if self.tiles is not None:
            self._merge(windows)
        return {name: value / count for name, value in sums.items()}

    def _merge(self, windows):
        """Fills `results` from the detections of all windows."""
        pairs = zip(windowed.places(self.dataset, *self.tiles), windows, strict=True)
        for number, group in itertools.groupby(pairs, lambda pair: pair[0][0]):
            places, found = zip(*group, strict=True)
            found = tile.merged(found, [box for _, box in places], self.model.suppression)
            found = {**{k: v[None] for k, v in found.items()}, "counts": [len(found["scores"])]}
            self.results += coco.results([self.dataset.records[number].id], found, self.dataset)

    def _one_batch(self, images, objects):
        outputs = self.model.network(images, training=False)
        terms = self.model.loss_terms(outputs, objects, images, training=False)
        found = self.model.detections(outputs, images)
        return terms, {**found, "boxes": image.from_frames(found["boxes"], images["frames"])}
