"""The two ways in which an operator runs, as contexts."""

import contextlib

from kerasdet.ops import library

WAYS = {"native": contextlib.nullcontext, "twin": library.portable}
