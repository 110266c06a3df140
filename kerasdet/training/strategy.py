"""Trains on one device, all devices of this machine, several machines or a TPU, with one code path for all.

Each replica gets its part of the same global batch, and loss terms are divided by counts over the global batch, so the
layout does not change the loss curve. Every worker evaluates the whole validation set and saves; only the chief's files
are kept.
"""

import contextlib
import json
import os
import pathlib
import re
import tempfile

import tensorflow as tf

# What TensorFlow raises where a worker does not answer.
_GONE = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
)  # fmt: skip

KINDS = ("auto", "one", "mirrored", "workers", "tpu")


def make(kind="auto", tpu=""):
    """Creates a strategy; a model created inside its `scope()` trains there. Call it before anything uses a device.

    Args:
        kind: "one" device; "mirrored" over the GPUs of this machine, or its logical CPUs; "workers", the machines in
            the environment variable TF_CONFIG; "tpu"; "auto" chooses workers if TF_CONFIG names several, else mirrored
            if there are several GPUs, else one.
        tpu: name or address of the TPU; "" for the local one.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: the kind is unknown, or TF_CONFIG is missing.
    """
    if kind not in KINDS:
        raise ValueError(f"strategy must be one of {KINDS}, got {kind!r}.")
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
    if kind == "workers" and not workers:
        raise ValueError("strategy 'workers' needs the environment variable TF_CONFIG with a cluster of workers.")
    if kind == "workers" or (kind == "auto" and len(workers) > 1):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
        return tf.distribute.TPUStrategy(resolver)
    gpus = tf.config.list_logical_devices("GPU")
    if kind == "mirrored" or (kind == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([device.name for device in gpus or tf.config.list_logical_devices("CPU")])
    return tf.distribute.get_strategy()


def is_chief(strategy):
    """Whether this process is the one whose files are kept."""
    if not has_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


@contextlib.contextmanager
def own_folder(strategy, folder):
    """The folder for the chief; a temporary one for others, which must save too because saving reads all variables."""
    if is_chief(strategy):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield pathlib.Path(scratch)


def batches(strategy, batch_size, accumulate, load):
    """Distributes a stream over the replicas.

    Args:
        strategy: the model's strategy.
        batch_size: images over all replicas.
        accumulate: number of parts in which a replica processes its share.
        load: function from `part`, as in `data.pipeline.load`, to the stream.

    Returns:
        A dataset whose elements `strategy.run` takes.

    Raises:
        ValueError: the replicas cannot have equal shares of equal parts.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * accumulate):
        raise ValueError(
            f"batch_size must be a multiple of {replicas} replicas times accumulate={accumulate}, got {batch_size}."
        )
    if not has_workers(strategy):
        return strategy.experimental_distribute_dataset(load((0, 1)))

    def worker(context):
        stream = load((context.input_pipeline_id, context.num_input_pipelines))
        return stream if context.num_input_pipelines == replicas else stream.rebatch(batch_size // replicas)

    return strategy.distribute_datasets_from_function(worker)


def agreement(strategy):
    """Returns a function that averages a number over workers, so that all decide alike; every worker must call it."""
    if not has_workers(strategy):
        return float

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def mean(value):
        return strategy.reduce("MEAN", strategy.run(tf.identity, args=(value,)), axis=None)

    return lambda value: float(mean(tf.constant(float(value))))


@contextlib.contextmanager
def together(strategy):
    """Inside, the end of another worker becomes one line that says which is gone and how to go on.

    Args:
        strategy: the model's strategy.

    Raises:
        ConnectionError: the line.
    """
    try:
        yield
    except _GONE as error:
        if not has_workers(strategy):
            raise
        resolver = strategy.cluster_resolver
        own = (resolver.task_type, resolver.task_id)
        raise ConnectionError(gone(error.message, resolver.cluster_spec().as_dict(), own)) from None


def gone(message, cluster, own):
    """The line for a worker that is gone.

    Args:
        message: TensorFlow's own words.
        cluster: dict of the jobs' names to their addresses.
        own: name and number of this task, which the words name too.

    Returns:
        str.
    """
    named = re.findall(r"/job:(\w+)/replica:\d+/task:(\d+)", message)
    tasks = [(job, int(task)) for job, task in dict.fromkeys(named)]
    others = [(job, task) for job in cluster for task in range(len(cluster[job])) if (job, task) != own]
    lost = [task for task in tasks if task in others] or (others if len(others) == 1 else [])
    places = ", ".join(f"{job} {task} ({cluster[job][task]})" for job, task in lost)
    return f"{places or 'another worker'} is gone; start all workers again with --resume."


def has_workers(strategy):
    """Whether several processes train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
