"""The client against servers that speak TensorFlow Serving's two tongues and answer from an exported model."""

import base64
import concurrent.futures
import http.server
import json
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import MaskRCNN
from kerasdet.export import client, saved_model


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(4)
    more = {"classes": ["Fußgänger", "disc"], "resize": ("stretch", 64, 64), "above": 0.0}
    return MaskRCNN(**{**MaskRCNN.tiny(), **more})


@pytest.fixture(scope="module")
def signatures(model, tmp_path_factory):
    loaded = tf.saved_model.load(str(saved_model.write(model, tmp_path_factory.mktemp("served"))))
    yield loaded.signatures


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "a.png"
    keras.utils.save_img(path, np.random.default_rng(0).integers(0, 256, [50, 70, 3]), scale=False)
    return path


@pytest.fixture
def rest(signatures):
    """Address of a server that answers `:predict` as TensorFlow Serving's REST interface does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/models/cells:predict"
            (name, values), *_ = asked["inputs"].items()
            try:
                batch = tf.constant([base64.b64decode(value["b64"]) for value in values])
                found = signatures[asked["signature_name"]](**{name: batch})
                outputs = {key: value.numpy().tolist() for key, value in found.items()}
                body, code = {"outputs": outputs}, 200
            except tf.errors.InvalidArgumentError as error:
                body, code = {"error": str(error)}, 400
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body, default=bytes.decode).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/models/cells"
    server.shutdown()
    server.server_close()


@pytest.fixture
def grpc(signatures):
    """Address of a server with TensorFlow Serving's `PredictionService`."""
    grpc = pytest.importorskip("grpc")
    service = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
    from tensorflow_serving.apis import predict_pb2

    class Predictions(service.PredictionServiceServicer):
        def Predict(self, request, context):
            assert request.model_spec.name == "cells"
            inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
            try:
                found = signatures[request.model_spec.signature_name](**inputs)
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            response = predict_pb2.PredictResponse()
            for name, value in found.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return response

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    service.add_PredictionServiceServicer_to_server(Predictions(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}/cells"
    server.stop(None)


@pytest.mark.parametrize("tongue", ["rest", "grpc"])
def test_says_what_the_model_says(tongue, model, photo, request):
    address = request.getfixturevalue(tongue)
    wanted = model.detect(photo, above=0.1)
    found = client.detect(address, photo.read_bytes(), 50, 70, above=0.1)
    assert len(wanted["scores"]) > 0 and list(found["names"]) == wanted["names"]
    np.testing.assert_allclose(found["boxes"], wanted["boxes"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["classes"], wanted["classes"])
    assert found["masks"].shape == (len(found["scores"]), 50, 70) and found["masks"].any()
    assert np.mean(found["masks"] != wanted["masks"]) < 1e-3
    np.testing.assert_allclose(found["keypoints"], wanted["keypoints"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("tongue", ["rest", "grpc"])
def test_hands_on_what_the_server_refuses(tongue, request):
    with pytest.raises(ValueError, match="cannot be decoded as an image"):
        client.detect(request.getfixturevalue(tongue), b"no image", 1, 1)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1/models/x", "grpc://127.0.0.1:9/x"])
def test_says_that_no_server_is_there(address):
    if address.startswith("grpc"):
        pytest.importorskip("tensorflow_serving")
    with pytest.raises(ValueError, match="127.0.0.1:9"):
        client.detect(address, b"", 1, 1, timeout=3.0)


@pytest.mark.parametrize("outputs", [{"scores": [[0.5]]}, [[0.5, 0.2]], {}])
def test_says_that_another_model_is_there(outputs):
    """As of a classifier; TensorFlow Serving sends a single output without its name."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"outputs": outputs}).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(
        ValueError, match="the model there was not exported by kerasdet: its outputs .* lack 'detection_boxes'"
    ):
        client.detect(f"http://127.0.0.1:{server.server_port}/v1/models/x", b"", 1, 1)
    server.shutdown()
    server.server_close()
