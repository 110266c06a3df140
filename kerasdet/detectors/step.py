"""Training a detector: what `compile`, `fit` and `evaluate` of Keras need."""

import contextlib
import numbers
import threading
import time

import keras
import tensorflow as tf

from kerasdet import contract
from kerasdet.targets.assign import over_replicas

# What `keras.Model.compile` takes and a detector cannot keep.
_REFUSED = ("loss", "loss_weights", "metrics", "weighted_metrics", "jit_compile")

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

    def compile(self, optimizer="rmsprop", clip_norm=None, accumulate=1, terms=None, seed=0, **kwargs):
        """As `keras.Model.compile`, but for its `loss` and `metrics`, which are the detector's own.

        Args:
            optimizer: a Keras optimizer.
            clip_norm: greatest global norm of the gradients, over all replicas; Keras' own would clip each replica.
            accumulate: parts that a replica's batch is taken in, one after another, to save memory. Each part's terms
                are divided by the part's own counts, and the mean over the parts is the loss: equal to the loss of the
                whole batch where terms are means over images.
            terms: names of the loss terms that count; None for all. Weights that only the others reach stay.
            seed: of what a step draws: the anchors and regions that learn.
            kwargs: to Keras, such as `run_eagerly` and `steps_per_execution`.

        Raises:
            ValueError: a term is unknown, or an argument has no meaning here.
        """
        if refused := [name for name in _REFUSED if kwargs.get(name) not in (None, False, "auto")]:
            raise ValueError(
                f"compile takes no {refused[0]}: the loss is the sum of the loss terms {self.terms}, of which `terms` "
                "chooses; evaluation.evaluator.Evaluator scores detections; and suppression does not compile by XLA."
            )
        if clip_norm is not None and not (isinstance(clip_norm, numbers.Real) and clip_norm > 0):
            raise ValueError(f"clip_norm must be a number above 0, or None, got {clip_norm!r}.")
        if not (isinstance(accumulate, int) and accumulate >= 1):
            raise ValueError(f"accumulate must be a whole number of at least 1, got {accumulate!r}.")
        if not set(terms or ()) <= set(self.terms):
            raise ValueError(f"terms must be some of {self.terms}, got {terms!r}.")
        super().compile(optimizer=optimizer, **{**kwargs, "jit_compile": False})
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
        if all(g is None for g in gradients):
            raise ValueError(f"nothing trains: the terms {self.counted} reach none of the weights that are not frozen.")
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
        end = None if i == self.accumulate - 1 else (i + 1) * size  # the last part takes what is left
        return tf.nest.map_structure(lambda entry: entry[i * size : end], data)

    def _gradients(self, images, objects):
        """The loss terms of a part of the batch, and the gradients of its share of the loss."""
        with _recording() as tape:
            outputs = self.network(images, training=True)
            terms = self._named(self.loss_terms(outputs, objects, images, training=True))
            loss = self.optimizer.scale_loss(self._loss(terms) / self.accumulate)
        return terms, tape.gradient(loss, self.trainable_variables)

    def off_tape(self):
        """A context whose results the gradient does not need, so that none is kept in memory until it is computed."""
        tape = getattr(_thread, "tape", None)
        return contextlib.nullcontext() if tape is None else tape.stop_recording()

    def _named(self, terms):
        if set(terms) != set(self.terms):
            raise ValueError(
                f"{type(self).__name__}.loss_terms gives {sorted(terms)}, but its `terms` are {sorted(self.terms)}: "
                "they must be the same names."
            )
        return terms

    def _loss(self, terms):
        return tf.add_n([terms[name] for name in self.counted])

    def test_step(self, data):
        images, objects = data
        outputs = self.network(images, training=False)
        return self._track(self._named(self.loss_terms(outputs, objects, images, training=False)), images)

    def make_train_function(self, force=False):
        """As Keras' own, but it notes the seconds spent waiting for data in `waited`, and the batch in `batch`."""
        if self.train_function is None or force:
            self.waited = 0.0
            self.train_function = self._over_batches(self.train_step, self._noted)

    def make_test_function(self, force=False):
        """As Keras' own."""
        if self.test_function is None or force:
            self.test_function = self._over_batches(self.test_step, next)

    def _noted(self, stream):
        """The next batch."""
        begin = time.perf_counter()
        data = next(stream)
        self.waited += time.perf_counter() - begin
        self.__dict__["batch"] = data  # Keras would wrap and track what is set as an attribute
        return data

    def _over_batches(self, step, following):
        """A function that takes `steps_per_execution` batches of a stream and runs a step on each."""
        strategy, traced, current = self.distribute_strategy, {}, {}

        def on_replicas(data):
            logs = strategy.run(step, args=(data,))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        def traced_for(stream):
            if self.run_eagerly:
                return on_replicas
            # A stream's own signature gives one trace, whatever the sizes of its batches; another stream has its own.
            spec = getattr(stream, "element_spec", None)
            if repr(spec) not in traced:
                # Nothing here is control flow by tensors, whose conversion takes a third of the tracing.
                of_stream = {"input_signature": [_pair(spec)]} if spec is not None else {"reduce_retracing": True}
                traced[repr(spec)] = tf.function(on_replicas, autograph=False, **of_stream)
            return traced[repr(spec)]

        def over_batches(stream):
            for i in range(self.steps_per_execution):
                try:
                    data = following(stream)
                except StopIteration:
                    if i == 0:
                        raise
                    break
                if self.__dict__.pop("new_stream", False) or not current:
                    data = self._checked(data)
                    current["step"] = traced_for(stream)
                logs = current["step"](_pair(data))
            return logs

        return over_batches

    def _checked(self, data):
        """The first batch of a stream, if its keys and numbers are as `contract` says."""
        strategy, pair = self.distribute_strategy, _pair(data)
        replicas = zip(*map(strategy.experimental_local_results, tf.nest.flatten(pair)), strict=True)
        for values in replicas:
            images, objects = tf.nest.pack_sequence_as(pair, values)
            contract.check(images, objects)
            contract.check_values(images, objects, self.num_classes)
            for needed, part, key in (
                (self.needs_proposals, images, "proposals"),
                (self.needs_masks, objects, "masks"),
                (self.num_keypoints, objects, "keypoints"),
            ):
                if needed and key not in part:
                    raise ValueError(f"{type(self).__name__} needs '{key}' in its batches. See kerasdet/contract.py.")
            if self.num_keypoints and objects["keypoints"].shape[2] != self.num_keypoints:
                raise ValueError(
                    f"objects['keypoints'] must hold {self.num_keypoints} of an object, got shape "
                    f"{tuple(objects['keypoints'].shape)}."
                )
        return data

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
        self.__dict__["new_stream"] = True
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


def _pair(data):
    """(images, objects) of a batch."""
    if isinstance(data, (tuple, list)) and len(data) == 3 and data[2] is None:
        data = data[:2]
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, dict) for part in data)):
        said = [type(part).__name__ for part in data] if isinstance(data, (tuple, list)) else type(data).__name__
        raise ValueError(
            "a batch must be (images, objects), the two dicts of kerasdet/contract.py, without sample weights; "
            f"got {said}."
        )
    return tuple(data)


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
