"""Fonts for names in any script: DejaVu, which matplotlib brings along, or what else the machine has."""

import functools
import os
import warnings

from PIL import ImageFont

# Fonts that draw a frame in place of every character.
_FRAMES = "LastResort"
# Words in the names of files of fonts that are not plain.
_FANCY = ("bold", "italic", "oblique", "mono", "light", "black", "thin", "condensed", "serif", "math")


def font(text, size):
    """The font that has the most characters of a text: DejaVu if it has all, else one of the machine's.

    If none has all of them, a warning names those that will be frames.

    Args:
        text: str.
        size: height, pixels.

    Returns:
        A PIL font.
    """
    return _opened(_path(frozenset(text)), size)


def families(texts):
    """Names of the font families that matplotlib needs for some texts, first DejaVu.

    Args:
        texts: list of str.

    Returns:
        List of names, for `font.family`.
    """
    from matplotlib import font_manager

    names = []
    for path in dict.fromkeys([_dejavu(), *(_path(frozenset(text)) for text in texts)]):
        font_manager.fontManager.addfont(path)  # its own list does not know what was installed later
        names.append(font_manager.get_font(path).family_name)
    return names


@functools.lru_cache(4096)
def _path(characters):
    """The file of the font for a set of characters."""
    needed = {ord(one) for one in characters if one.isprintable() and not one.isspace()}
    missing = needed - _characters(_dejavu())
    if not missing:
        return _dejavu()
    best = _other(frozenset(missing))
    lacking = missing - _characters(best)
    if lacking:
        _warn("".join(map(chr, sorted(lacking))))
    # A font of another script may lack the digits of a score.
    return best if len(needed & _characters(best)) >= len(needed) - len(missing) else _dejavu()


@functools.lru_cache(4096)
def _other(missing):
    """The machine's font that has most of some characters, a plain one if possible."""
    from matplotlib import font_manager

    def fancy(path):
        name = os.path.basename(path).lower()
        return sum(word in name for word in _FANCY), name

    own = os.path.dirname(_dejavu())
    paths = [*font_manager.findSystemFonts(), *(os.path.join(own, name) for name in os.listdir(own))]
    paths = [path for path in paths if not os.path.basename(path).startswith(_FRAMES)]
    best, count = _dejavu(), 0
    for path in sorted(paths, key=fancy):
        found = len(missing & _characters(path))
        if found > count:
            best, count = path, found
        if count == len(missing):
            break
    return best


@functools.cache
def _warn(lacking):
    warnings.warn(
        f"no font on this machine has {lacking[:20]!r}, which a name holds: install one, such as Noto Sans CJK; "
        "frames stand for these characters.",
        stacklevel=4,
    )


@functools.cache
def _dejavu():
    import matplotlib

    return os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@functools.cache
def _characters(path):
    """The numbers of the characters that a font has."""
    from matplotlib import ft2font

    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()  # gone since matplotlib listed the machine's fonts, or of a kind it cannot open


@functools.lru_cache(256)
def _opened(path, size):
    return ImageFont.truetype(path, size)
