"""Training a detector: what `compile`, `fit` and `evaluate` of Keras need."""

import contextlib
import threading
import time

import keras
import tensorflow as tf

from kerasdet.targets.assign import over_replicas

# Each replica runs its step in its own thread, with its own tape.
_thread = threading.local()


class Trains:
    """The steps of a `keras.Model` whose loss is the sum of the `loss_terms` that it names in `terms`."""

    terms = ()
    clip_norm, accumulate, seed = None, 1, 0

    def make_trackers(self):
        """Makes the means of the loss and its terms that are shown; until `compile` chooses, all terms count."""
        self.trackers = {term: keras.metrics.Mean(term) for term in ("loss", *self.terms)}
        self.counted = self.terms

    def step(self, training=True):
        """Steps trained so far, a scalar integer, the seed of what a step draws; 0 in validation."""
        if not (training and self.compiled):
            return tf.constant(0, tf.int64)
        return tf.cast(getattr(self.optimizer, "inner_optimizer", self.optimizer).iterations, tf.int64)

    def compile(self, optimizer, clip_norm=None, accumulate=1, terms=None, seed=0, **kwargs):
        """As `keras.Model.compile`.

        Args:
            optimizer: a Keras optimizer.
            clip_norm: greatest global norm of the gradients, over all replicas; Keras' own would clip each replica.
            accumulate: parts that a replica's batch is taken in, one after another, to save memory. Each part's terms
                are divided by the part's own counts, and the mean over the parts is the loss: equal to the loss of the
                whole batch where terms are means over images.
            terms: names of the loss terms that count; None for all. Weights that only the others reach stay.
            seed: of what a step draws: the anchors and regions that learn.
            kwargs: to Keras.

        Raises:
            ValueError: a term is unknown.
        """
        if not set(terms or ()) <= set(self.terms):
            raise ValueError(f"terms must be some of {self.terms}, got {terms!r}.")
        super().compile(optimizer=optimizer, **{"jit_compile": False, **kwargs})
        self.clip_norm, self.accumulate, self.counted = clip_norm, accumulate, tuple(terms or self.terms)
        self.seed = seed

    def train_step(self, data):
        images, _ = data
        sums, gradients = dict.fromkeys(self.terms, 0.0), None
        for i in range(self.accumulate):
            # A part waits for the one before, or the graph would hold the activations of both.
            with tf.control_dependencies([g for g in gradients or () if g is not None]):
                part = self._part(data, i)
            terms, more = self._gradients(*part)
            gradients = more if gradients is None else [_sum(a, b) for a, b in zip(gradients, more, strict=True)]
            sums = {name: sums[name] + value / self.accumulate for name, value in terms.items()}
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        gradients, variables = map(list, zip(*reached, strict=True))
        if self.clip_norm is not None:
            gradients = self._clip(gradients)
        self.optimizer.apply(gradients, variables)
        return self._track(sums, images)

    def _part(self, data, i):
        if self.accumulate == 1:
            return data
        size = tf.shape(data[0]["ids"])[0] // self.accumulate
        return tf.nest.map_structure(lambda entry: entry[i * size : (i + 1) * size], data)

    def _gradients(self, images, objects):
        """The loss terms of a part of the batch, and the gradients of its share of the loss."""
        with _recording() as tape:
            outputs = self.network(images, training=True)
            terms = self.loss_terms(outputs, objects, images, training=True)
            loss = self.optimizer.scale_loss(self._loss(terms) / self.accumulate)
        return terms, tape.gradient(loss, self.trainable_variables)

    def off_tape(self):
        """A context whose results the gradient does not need, so that none is kept in memory until it is computed."""
        tape = getattr(_thread, "tape", None)
        return contextlib.nullcontext() if tape is None else tape.stop_recording()

    def _loss(self, terms):
        return tf.add_n([terms[name] for name in self.counted])

    def test_step(self, data):
        images, objects = data
        outputs = self.network(images, training=False)
        return self._track(self.loss_terms(outputs, objects, images, training=False), images)

    def make_train_function(self, force=False):
        """As Keras' own, but it notes the seconds spent waiting for data in `waited`, and the batch in `batch`."""
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy

        def step(data):
            logs = strategy.run(self.train_step, args=(data,))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        traced = {}

        def train_function(iterator):
            # The stream's own signature: one trace, whatever the sizes of the batches.
            if not traced:
                # Nothing here is control flow by tensors, whose conversion takes a third of the tracing.
                traced["step"] = tf.function(step, input_signature=[iterator.element_spec], autograph=False)
            begin = time.perf_counter()
            data = next(iterator)
            self.waited += time.perf_counter() - begin
            self.__dict__["batch"] = data  # Keras would wrap and track what is set as an attribute
            return traced["step"](data)

        self.waited = 0.0
        self.train_function = train_function

    def _clip(self, gradients):
        """Clips the sum over replicas; shares it out again, since the optimizer sums over replicas."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        gradients = [over_replicas(tf.convert_to_tensor(g)) for g in gradients]
        clipped, _ = tf.clip_by_global_norm(gradients, self.clip_norm * self.optimizer.scale_loss(1.0))
        return [g / replicas for g in clipped]

    def _track(self, terms, images):
        """Means over images; a replica holds its share of a sum, hence the factor."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        weight = tf.reduce_sum(tf.cast(images["ids"] >= 0, tf.float32))
        for name, value in {"loss": self._loss(terms), **terms}.items():
            self.trackers[name].update_state(value * replicas, sample_weight=weight)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds the optimizer; Keras would also build the model, with the mean over replicas of each entry."""
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


def _sum(a, b):
    """Of two gradients, of which one of a weight that the loss does not reach is None."""
    return b if a is None else a if b is None else a + b


@contextlib.contextmanager
def _recording():
    """A gradient tape that `Trains.off_tape` finds."""
    with tf.GradientTape() as tape:
        _thread.tape = tape
        try:
            yield tape
        finally:
            _thread.tape = None
