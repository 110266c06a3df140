"""Moves input work to other machines: batches from a tf.data service."""

import tensorflow as tf


def served(stream, dataset, address):
    """Lets the workers of a tf.data service make the batches.

    Each picture goes to one of the service's workers. With one worker, the batches are those of `pipeline.load`, in
    order. With several, no picture comes twice in a pass, but which pictures share a batch is not reproducible, so
    neither is a repeated or resumed run.

    Args:
        stream: a stream from `pipeline.load`.
        dataset: its `Dataset`; the service's workers read its files under the same paths.
        address: address of the service's dispatcher, "grpc://host:port".

    Returns:
        A `tf.data.Dataset`.

    Raises:
        ValueError: the address is malformed, or the batches need data that only this process has: arrays instead of
            files, masks or proposals.
    """
    if not address.startswith("grpc://"):
        raise ValueError(f"data_service must be an address like grpc://host:5000, got {address!r}.")
    if not all(isinstance(record.image, str) for record in dataset.records):
        raise ValueError(f"data_service: {dataset.name} holds its pictures in memory; the service reads files only.")
    entries = {key for part in stream.element_spec for key in part}
    for key in ("masks", "proposals"):
        if key in entries:
            raise ValueError(f"data_service: batches of {dataset.name} hold {key}, which the service cannot make.")
    sharding = tf.data.experimental.service.ShardingPolicy.DYNAMIC
    return stream.apply(tf.data.experimental.service.distribute(processing_mode=sharding, service=address))
