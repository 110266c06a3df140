"""A client that sends encoded pictures to a running TensorFlow Serving, one at a time."""

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import tensorflow as tf

from kerasdet.decoding.paste import paste
from kerasdet.export import answers

_NEEDED = ("detection_boxes", "detection_scores", "detection_classes", "detection_class_names", "num_detections")


def detect(address, data, height, width, above=0.3, timeout=60.0):
    """Requests the detections in a picture.

    Args:
        address: `http://HOST:8501/v1/models/NAME` for REST, `grpc://HOST:8500/NAME` for gRPC.
        data: bytes of the image file.
        height, width: size of the upright picture, pixels.
        above: minimum score, 0...1.
        timeout: seconds to wait.

    Returns:
        The same dict as `Detector.detect`.

    Raises:
        ValueError: the server cannot be reached, or refuses, with the server's message.
    """
    ask = _grpc if address.startswith("grpc://") else _rest
    outputs = ask(address, data, timeout)
    if missing := [name for name in _NEEDED if name not in outputs]:
        raise ValueError(
            f"{address}: the model there was not exported by kerasdet: its outputs {sorted(outputs)} lack "
            f"'{missing[0]}'."
        )
    said = {name: np.asarray(value[0]) for name, value in outputs.items()}
    found = answers.in_pixels(said, height, width)
    found = {name: value[found["scores"] >= above] for name, value in found.items()}
    if "masks" in found:
        found["masks"] = paste(found["masks"], found["boxes"], height, width)
    names = said["detection_class_names"][: len(found["scores"])]
    return {**found, "names": [tf.compat.as_text(name) for name in names.tolist()]}


def _rest(address, data, timeout):
    inputs = {"image_bytes": [{"b64": base64.b64encode(data).decode()}]}
    body = json.dumps({"signature_name": "image_bytes", "inputs": inputs}).encode()
    try:
        with urllib.request.urlopen(f"{address}:predict", body, timeout) as answer:
            outputs = json.load(answer)["outputs"]
            return outputs if isinstance(outputs, dict) else {"outputs": outputs}  # a single one comes without its name
    except urllib.error.HTTPError as error:
        raise ValueError(f"{address}: {error.read().decode(errors='replace')}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{address}: {error or type(error).__name__}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{address}: the server's answer is not one of TensorFlow Serving.") from None


def _grpc(address, data, timeout):
    try:
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError:
        raise ValueError("gRPC needs tensorflow-serving-api: pip install kerasdet[serving].") from None
    place = urllib.parse.urlparse(address)
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = place.path.strip("/"), "image_bytes"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([data]))
    with grpc.insecure_channel(place.netloc) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            outputs = service.Predict(request, timeout).outputs
        except grpc.RpcError as error:
            raise ValueError(f"{address}: {error.details()}") from None
    return {name: tf.make_ndarray(value) for name, value in outputs.items()}
