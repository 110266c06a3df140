"""What the specs of darknet's networks describe: a deterministic `.weights` file, and the cfg of real ones."""

import hashlib
import struct

import numpy as np


def content(weights):
    """The bytes of the file, whose SHA-256 the spec names.

    Args:
        weights: the spec's `weights`: key, header, and tensors as [name, shape, kind, arguments...].
    """
    version, seen = weights["header"]["version"], weights["header"]["seen"]
    seen = struct.pack("<q" if version[0] * 10 + version[1] >= 2 else "<i", seen)
    tensors = (_tensor(weights["key"], *one).tobytes() for one in weights["tensors"])
    found = struct.pack("<3i", *version) + seen + b"".join(tensors)
    assert hashlib.sha256(found).hexdigest() == weights["sha256"]
    return found


def _tensor(key, name, shape, kind, *arguments):
    count = int(np.prod(shape))
    if kind in ("values", "tile"):
        value = np.resize(np.float64(arguments[0]), count)
    elif kind == "blocks":
        value = np.concatenate([np.resize(np.float64(part), length) for length, part in arguments[0]])
    elif kind == "u":
        center, spread = arguments
        value = center + spread * (_whole(key, name, count) / 2.0**24)
    elif kind in ("uz", "uzl"):  # without the mean of each filter; "uzl" of a local layer's filters at each place
        filters = _whole(key, name, count).reshape(int(np.prod(shape[: 1 if kind == "uz" else 2])), -1)
        mean = filters.sum(axis=1, keepdims=True) / filters.shape[1]
        value = arguments[0] * ((filters - mean) / 2.0**24)
        if arguments[1:]:
            value = value * np.resize(np.float64(arguments[1]), len(filters))[:, None]
    else:
        raise ValueError(f"{name}: unknown kind {kind!r}")
    return np.float32(value.ravel()).astype("<f4")


def _whole(key, name, count):
    """Odd whole numbers in -2**24 ... 2**24 from Philox's raw output, which NumPy keeps stable."""
    seed = hashlib.sha256(f"{key}/{name}".encode()).digest()[:16]
    words = np.random.Philox(key=int.from_bytes(seed, "little")).random_raw((count + 1) // 2)
    halves = words.astype("<u8").view("<u4")[:count]
    return (halves >> np.uint32(8)).astype(np.int64) * 2 + 1 - 2**24


def cfg_of(info):
    """The cfg of a network whose layers are listed in a json."""
    height, width, channels = info["input"]
    lines = [f"[net]\nheight={height}\nwidth={width}\nchannels={channels}"]
    for layer in info["layers"]:
        own = dict(layer)
        number, kind = own.pop("index"), own.pop("kind")
        if "inputs" in own:
            inputs = own.pop("inputs")
            key = "layers" if kind == "route" else "from"
            own[key] = inputs if kind == "route" else [i for i in inputs if i != number - 1]
        if "anchors" in own:
            own.setdefault("num", len(own["anchors"]))
            own["anchors"] = [side for pair in own["anchors"] for side in pair]
        if "rate" in own:
            own["probability"] = own.pop("rate")
        lines.append(f"[{kind}]")
        for key, value in own.items():
            value = int(value) if isinstance(value, bool) else value
            lines.append(f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}")
    return "\n".join(lines) + "\n"
