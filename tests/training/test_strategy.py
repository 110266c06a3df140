"""One device, two mirrored devices and two workers train alike; a worker that is killed goes on."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from kerasdet.training import strategy
from tests.training import layouts


def start(kind, folder, config=None):
    environment = {**os.environ, **({"TF_CONFIG": json.dumps(config)} if config else {})}
    with open(folder / f"{kind}{(config or {}).get('task', {}).get('index', '')}.txt", "a") as log:
        command = [sys.executable, "-m", "tests.training.layouts", kind, str(folder)]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def workers(folder):
    """Two workers over loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]}
    for s in sockets:
        s.close()
    return [start("worker", folder, {"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the runs on one device and on two mirrored ones, which compare themselves."""
    folder = tmp_path_factory.mktemp("layouts")
    process = start("mirrored", folder)
    assert process.wait(600) == 0, (folder / "mirrored.txt").read_text()[-3000:]
    return folder


def test_two_mirrored_devices_train_like_one(folder):
    layouts.compare(folder, "one", "mirrored")
    layouts.compare(folder, "one_sync", "mirrored_sync")
    assert (folder / "mirrored" / "model.keras").is_file()


def test_two_workers_train_like_one_after_one_was_killed(folder):
    """Worker 1 is killed after some steps, which worker 0 says and ends; both are started again."""
    pair = workers(folder)
    try:
        while len(layouts.losses(folder / "worker-1.jsonl")) < 6 and all(p.poll() is None for p in pair):
            time.sleep(0.05)
        assert all(p.poll() is None for p in pair), (folder / "worker1.txt").read_text()[-3000:]
        pair[1].kill()
        assert pair[0].wait(60) != 0
        last = (folder / "worker0.txt").read_text().splitlines()[-1]
        assert re.fullmatch(r"ConnectionError: worker 1 \(127.0.0.1:\d+\) is gone; start all .* --resume\.", last), last
    finally:
        for process in pair:
            process.kill()
            process.wait()
    pair = workers(folder)
    try:
        for i, process in enumerate(pair):
            assert process.wait(600) == 0, (folder / f"worker{i}.txt").read_text()[-3000:]
    finally:
        for process in pair:
            process.kill()
    assert "resumed at step" in (folder / "worker0.txt").read_text()
    for i in range(2):
        layouts.compare(folder, "one", f"worker-{i}")
    assert sorted(p.name for p in (folder / "worker" / "checkpoints").iterdir()) == ["000000016.npz", "000000020.npz"]


def test_kinds_are_checked(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="strategy must be one of .* got 'two'"):
        strategy.make("two")
    with pytest.raises(ValueError, match="'workers' needs the environment variable TF_CONFIG"):
        strategy.make("workers")
    assert strategy.make("auto").num_replicas_in_sync == 1


def test_a_batch_that_replicas_cannot_share_is_refused():
    two = type("Two", (), {"num_replicas_in_sync": 2})()
    with pytest.raises(ValueError, match="multiple of 2 replicas times accumulate=2, got 6"):
        strategy.batches(two, 6, 2, lambda part: None)


def test_every_part_of_a_batch_is_a_slice_of_the_whole():
    """The i-th of n workers reads the i-th n-th of each batch."""
    from kerasdet.data import pipeline
    from tests.training import micro

    model, photos = micro.make(), micro.photos()

    def ids(part, steps=5):
        stream = pipeline.load(photos, model.preprocess, 4, training=True, seed=3, start=2, part=part)
        return [images["ids"].numpy().tolist() for images, _ in stream.take(steps)]

    for whole, first, second in zip(ids((0, 1)), ids((0, 2)), ids((1, 2)), strict=True):
        assert whole == first + second


def test_a_data_service_serves_the_same_batches(tmp_path):
    """With one worker; pictures are files, which it reads itself."""
    import dataclasses

    import keras
    import numpy as np

    from kerasdet.data import pipeline, service
    from tests.training import micro

    model, photos = micro.make(), micro.photos(6)
    with pytest.raises(ValueError, match="photos holds its pictures in memory"):
        service.served(None, photos, "grpc://localhost:1")
    for i, record in enumerate(photos.records):
        path = str(tmp_path / f"{i}.png")
        keras.utils.save_img(path, record.image, scale=False)
        photos.records[i] = dataclasses.replace(record, image=path)
    with pytest.raises(ValueError, match="must be an address like grpc://host:5000, got 'localhost:1'"):
        service.served(None, photos, "localhost:1")
    proposed = [dataclasses.replace(record, proposals=record.boxes) for record in photos.records]
    some = dataclasses.replace(photos, records=proposed)
    with pytest.raises(ValueError, match="batches of photos hold proposals, which the service cannot make"):
        service.served(pipeline.load(some, model.preprocess, 4), some, "grpc://localhost:1")
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(dispatcher_address=address)
    )
    stream = pipeline.load(photos, model.preprocess, 4, training=True, transforms=(("flip", 0.5),), seed=1)
    served = service.served(stream, photos, dispatcher.target)
    for (images, objects), (others, theirs) in zip(stream.take(4), served.take(4), strict=True):
        np.testing.assert_array_equal(images["ids"], others["ids"])
        np.testing.assert_array_equal(images["pixels"], others["pixels"])
        np.testing.assert_array_equal(objects["boxes"], theirs["boxes"])
    del worker


def test_the_last_words_name_the_worker_that_is_gone():
    """TensorFlow's words name it, or also this one; where there are two, it can only be the other."""
    from kerasdet.training import strategy

    two = {"worker": ["a:5000", "b:5000"]}
    three = {"chief": ["a:5000"], "worker": ["b:5000", "c:5000"]}
    heard = "Connection reset by peer from /job:worker/replica:0/task:1 to /job:worker/replica:0/task:0"
    for words, cluster, own, name in (
        (heard, two, ("worker", 0), "worker 1 (b:5000)"),
        ("Socket closed", two, ("worker", 1), "worker 0 (a:5000)"),
        (heard, three, ("worker", 0), "worker 1 (c:5000)"),
        ("Socket closed", three, ("chief", 0), "another worker"),
    ):
        assert strategy.gone(words, cluster, own) == f"{name} is gone; start all workers again with --resume."
