"""Reads pickles without running them: a machine that knows dicts, lists, numbers, text and arrays, and nothing else.

Python's own unpickler imports and calls whatever a file names. Here a name is looked up in `_BUILDERS`, and lengths,
shapes and places in storages are checked against the bytes that are there before anything is made of them.
"""

import math
import pickletools
import re
import struct
from typing import NamedTuple

import numpy as np

# A file of weights has some hundred thousand; each makes at most one small object.
_MOST_STEPS = 4_000_000


class Storage(NamedTuple):
    """Numbers of torch that lie elsewhere in the file: of a dtype, under a key, `count` of them."""

    dtype: str
    key: str
    count: int


class Tensor(NamedTuple):
    """A view of a `Storage`: first element, shape and strides, all in elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


def load(file, size):
    """Reads one pickle and leaves the file behind it.

    Args:
        file: binary file object, which may be an `mmap`.
        size: bytes of the file, which what is made of it must not exceed by far.

    Returns:
        What it holds: dicts, lists, tuples, numbers, text, bytes, arrays and `Tensor`s.

    Raises:
        ValueError: one line; it is damaged, or names something that is no array.
    """
    try:
        return _Machine(4 * size).run(file)
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError, UnicodeError, struct.error) as error:
        raise ValueError(f"a damaged pickle ({type(error).__name__})") from None


class _Array:
    """An array of NumPy whose state is still to come."""

    value = None


class _DType:
    """A dtype of numbers; its state says the order of bytes."""

    def __init__(self, text, *_):
        text = text.decode() if isinstance(text, bytes) else text
        if not re.fullmatch(r"[<>=|]?([fiu][1248]|b1|\?)", text):
            raise ValueError(f"it holds an array of {str(text)[:40]!r}, which are no numbers")
        self.value = np.dtype(text)


class _StorageType(NamedTuple):
    dtype: str


class _Refused(NamedTuple):
    """A name that builds no array: pickles may hold it as text, but not call it."""

    name: str


_STORAGES = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": "bf2", "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "b1",
}  # fmt: skip


def _tensor(storage, offset, shape, strides, *_):
    """`torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, Storage):
        raise ValueError("a damaged pickle (a tensor without storage)")
    shape, strides = _sizes(shape), _sizes(strides)
    last = _whole(offset) + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise ValueError(f"a tensor of shape {shape} does not fit in its storage of {storage.count} numbers")
    return Tensor(storage, offset, shape, strides)


def _whole(value):
    # A value is never shown: text of a few lists within lists, each held ten times, may fill the memory.
    if not isinstance(value, int) or not 0 <= value < 2**48:
        raise ValueError("a damaged pickle (something else where a size should be)")
    return value


def _sizes(values):
    if not isinstance(values, tuple | list) or len(values) > 8:
        raise ValueError("a damaged pickle (something else where a shape should be)")
    return tuple(map(_whole, values))


def _raw(value):
    """Bytes, which pickles of Python 2 hold as text."""
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, bytes | bytearray):
        raise ValueError("a damaged pickle (something else where bytes should be)")
    return value


def _numbers(raw, dtype, shape, fortran=False):
    """The array of some bytes, without a copy."""
    raw, shape = _raw(raw), _sizes(shape)
    if math.prod(shape) * dtype.value.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} and {dtype.value} does not have {len(raw)} bytes")
    return np.frombuffer(raw, dtype.value).reshape(shape, order="F" if fortran else "C")


def _scalar(dtype, raw):
    return _numbers(raw, dtype, ())[()].item()


def _text(value):
    """Text, which pickles of Python 2 hold as bytes; of names a file has no others."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise ValueError("a damaged pickle (a name that is no text)")
    return value


def _dict(pairs=()):
    """`collections.OrderedDict`, whose keys are text alone: the hash of nested tuples has no limit of depth."""
    return {_text(name): value for name, value in pairs}


# What a pickle may call, by module and name.
_BUILDERS = {
    ("collections", "OrderedDict"): _dict,
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),
    # The bytes of an empty array.
    ("__builtin__", "bytes"): lambda: b"",
    ("builtins", "bytes"): lambda: b"",
    ("torch", "Size"): lambda sizes=(): _sizes(sizes),
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", f"{name}Storage"): _StorageType(dtype) for name, dtype in _STORAGES.items()},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _DType,
    **{
        (f"numpy.{core}.{part}", name): made
        for core in ("core", "_core")
        for part, name, made in (
            ("multiarray", "_reconstruct", lambda *_: _Array()),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", lambda raw, dtype, shape, order: _numbers(raw, dtype, shape, order == "F")),
        )
    },
}


class _Machine:
    """The stack, the marks on it and the memo of one pickle, and the bytes that it may still make."""

    def __init__(self, left):
        self.stack, self.marks, self.memo = [], [], {}
        self.left = left

    def run(self, file):
        for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if step > _MOST_STEPS:
                raise ValueError(f"a pickle of more than {_MOST_STEPS:,} steps, which is no file of weights")
            name = opcode.name
            if name == "STOP":
                return self._made(self.stack.pop())
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name not in _STEPS:
                raise ValueError(f"its pickle has the step {name}, which builds no array")
            else:
                _STEPS[name](self, argument)

    def _made(self, value):
        """A value as others see it."""
        if isinstance(value, _Array):
            if value.value is None:
                raise ValueError("a damaged pickle (an array without numbers)")
            return value.value
        return value

    def spend(self, made):
        """Counts bytes: a text that is held once may be encoded a thousand times."""
        self.left -= len(made)
        if self.left < 0:
            raise ValueError("it makes more of its bytes than there are")

    def above_mark(self):
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def put(self, items, pairs=False):
        """Into the list or dict on top of the stack."""
        into = self.stack[-1]
        if pairs != isinstance(into, dict) or not (pairs or isinstance(into, list)):
            raise ValueError("a damaged pickle (items that belong to nothing)")
        if not pairs:
            return into.extend(map(self._made, items))
        for key, value in zip(items[::2], items[1::2], strict=True):
            into[key if isinstance(key, int) else _text(key)] = self._made(value)

    def tuple(self, count):
        if count > len(self.stack):
            raise ValueError("a damaged pickle (its stack is empty)")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(items))

    def global_(self, module, name):
        module, name = _text(module), _text(name)
        self.stack.append(_BUILDERS.get((module, name), _Refused(f"{module}.{name}"[:80])))

    def call(self):
        arguments, made = self.stack.pop(), self.stack.pop()
        if isinstance(made, _Refused) or not callable(made):
            what = made.name if isinstance(made, _Refused) else "what it built"
            raise ValueError(f"its pickle calls {what!r}, which builds no array; nothing of it was run")
        self.stack.append(made(*arguments))
        if isinstance(self.stack[-1], bytes):
            self.spend(self.stack[-1])

    def build(self):
        state, into = self.stack.pop(), self.stack[-1]
        if isinstance(into, _Array):
            _, shape, dtype, fortran, raw = state
            self.spend(raw)
            into.value = _numbers(raw, dtype, shape, fortran)
        elif isinstance(into, _DType):
            into.value = into.value.newbyteorder({"<": "<", ">": ">"}.get(_raw(state[1]).decode(), "="))
        elif not isinstance(into, dict):  # what is set on a state dict of torch are versions of its modules
            raise ValueError("its pickle sets attributes of something that is no array")

    def storage(self):
        kind, made, key, _, count, *view = self.stack.pop()
        if kind != "storage" or not isinstance(made, _StorageType) or any(one is not None for one in view):
            raise ValueError("a damaged pickle (a storage of an unknown kind)")
        self.stack.append(Storage(made.dtype, _text(key), _whole(count)))

    def remember(self, key):
        self.memo[key] = self.stack[-1]


_CONSTANTS = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}  # fmt: skip
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_STEPS = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.above_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "PUT": lambda m, key: m.remember(int(key)),
    "BINPUT": lambda m, key: m.remember(key),
    "LONG_BINPUT": lambda m, key: m.remember(key),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "GET": lambda m, key: m.stack.append(m.memo[int(key)]),
    "BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "LONG_BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.above_mark())),
    "TUPLE1": lambda m, _: m.tuple(1),
    "TUPLE2": lambda m, _: m.tuple(2),
    "TUPLE3": lambda m, _: m.tuple(3),
    "LIST": lambda m, _: m.stack.append(m.above_mark()),
    "DICT": lambda m, _: (items := m.above_mark(), m.stack.append({}), m.put(items, pairs=True)),
    "APPEND": lambda m, _: m.put([m.stack.pop()]),
    "APPENDS": lambda m, _: m.put(m.above_mark()),
    "SETITEM": lambda m, _: (value := m.stack.pop(), m.put([m.stack.pop(), value], pairs=True)),
    "SETITEMS": lambda m, _: m.put(m.above_mark(), pairs=True),
    "GLOBAL": lambda m, names: m.global_(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: (name := m.stack.pop(), m.global_(m.stack.pop(), name)),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.storage(),
}
