"""What lies below a folder: photos, found by the names that labeling tools write, and the words that name its parts."""

import functools
import os
import re
import unicodedata
from urllib.parse import parse_qs, unquote, urlsplit

PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".heic", ".heif")
# Folders that programs make for themselves: copies and small versions of what lies beside them.
_PRIVATE = {"__macosx", "@eadir", "thumbnails", "thumbs", "$recycle.bin"}
# Folders whose pictures show masks or labels, not the scene.
_DRAWN = re.compile(r"segmentation(class|object)|masks?|depth|visuali[sz]ations?|annotations?|labels?", re.IGNORECASE)
_WORDS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Label Studio puts eight digits before the name of an uploaded file.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")


def part_of(name):
    """Which part a name speaks of: "train", "val", "test", or None. Case, digits and other words do not matter."""
    found = {_WORDS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def part_in(path):
    """The last folder of a relative path that names a part, or None: "valid" of "valid/images/a.jpg"."""
    folders = os.path.dirname(path).split(os.sep)
    return next((folder for folder in reversed(folders) if part_of(folder)), None)


def is_hidden(name):
    """Whether a file or folder of this name belongs to a program and not to the data set."""
    return name.startswith((".", "~$")) or name.lower() in _PRIVATE


class Folder:
    """The visible files below a folder.

    Attributes:
        path: path of the folder.
        files: paths of all visible files, relative to the folder, sorted.
        hidden: how many photos lie in hidden files and folders.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        self.files, self.hidden = [], 0
        seen = set()
        for parent, folders, names in os.walk(self.path, followlinks=True):
            inner = os.path.relpath(parent, self.path)
            real = os.path.realpath(parent)
            private = any(map(is_hidden, inner.split(os.sep))) and inner != "."
            folders[:] = [] if real in seen else sorted(folders)
            if real in seen:
                continue
            seen.add(real)
            for name in names:
                if private or is_hidden(name):
                    self.hidden += is_photo(name)
                else:
                    self.files.append(os.path.normpath(os.path.join(inner, name)))
        self.files.sort()

    def ending(self, *endings):
        """The files with one of these endings, in any case."""
        return [file for file in self.files if file.lower().endswith(endings)]

    @functools.cached_property
    def photos(self):
        """The photos, without pictures in folders for masks and the like, unless there are no others."""
        every = [file for file in self.files if is_photo(file)]
        return [file for file in every if not _is_drawn(file)] or every

    @functools.cached_property
    def by_stem(self):
        """Dict from a file name without its ending, see `key`, to the photos of that name."""
        found = {}
        for photo in self.photos:
            found.setdefault(key(stem(photo)), []).append(photo)
        return found

    def full(self, file):
        """The path of a file of this folder."""
        return os.path.normpath(os.path.join(self.path, file))

    def has(self, photo):
        """Whether a path, relative to this folder, is one of its photos."""
        return photo in self._known

    def find(self, name, near=()):
        """Finds the photo that an annotation names.

        Tools write relative and absolute paths of another computer, backslashes, addresses and encoded characters. What
        counts is the file's name, then how many of the folders before it agree, then the folders in `near`.

        Args:
            name: as the tool wrote it, with or without an ending.
            near: folders, relative to this one, in which the photo is most likely.

        Returns:
            Relative path of the photo; None if there is none. If several fit equally well, a list of them.
        """
        for form in forms(name):
            for folder in near:
                direct = os.path.normpath(os.path.join(folder, *form))
                if direct in self._known:
                    return direct
            found = self._named(form[-1]) if form else []
            if found:
                return _best(found, form, near)
        return None

    @functools.cached_property
    def _known(self):
        return set(self.photos)

    def _named(self, name):
        """Photos of a name: in full, or else without ending."""
        same = [photo for photo in self.by_stem.get(key(stem(name)), ()) if key(photo.split(os.sep)[-1]) == key(name)]
        return same or (self.by_stem.get(key(name), []) if not is_photo(name) else [])


def forms(name):
    """The ways to understand a photo's name, each a list of folders with the file's name at the end."""
    name = name.strip()
    address = urlsplit(name) if "://" in name or "?" in name else None
    decoded = unquote(name)
    candidates = [name, decoded]
    if address is not None:
        candidates += [unquote(address.path), *(value[0] for value in parse_qs(address.query).values())]
    found = []
    for candidate in candidates:
        parts = [part for part in re.split(r"[\\/]+", candidate) if part not in ("", ".", "..")]
        for form in (parts, [*parts[:-1], _UPLOADED.sub("", parts[-1])] if parts else parts):
            if form and form not in found:
                found.append(form)
    return found


def key(name):
    """A name by which files are compared: file systems differ in case and in how they write accents."""
    return unicodedata.normalize("NFC", name).casefold()


def stem(path):
    """A file's name without folder and ending."""
    return os.path.splitext(os.path.basename(path))[0]


def is_photo(name):
    """Whether a file has the ending of a photo."""
    return name.lower().endswith(PHOTOS)


def _is_drawn(file):
    return any(_DRAWN.fullmatch(folder) for folder in os.path.dirname(file).split(os.sep))


def _best(found, form, near):
    """Of photos with the same name, the one whose folders agree best; a list of them if that does not decide."""

    def rank(photo):
        folders = [key(part) for part in os.path.dirname(photo).split(os.sep)]
        wanted = [key(part) for part in form[:-1]]
        agree = 0
        while agree < min(len(folders), len(wanted)) and folders[-1 - agree] == wanted[-1 - agree]:
            agree += 1
        close = [len(near) - place for place, folder in enumerate(near) if _inside(photo, folder)]
        return agree, max(close, default=0)

    best = max(map(rank, found))
    tied = [photo for photo in found if rank(photo) == best]
    return tied[0] if len(tied) == 1 else tied


def _inside(photo, folder):
    return os.path.normpath(folder) == "." or photo.startswith(os.path.normpath(folder) + os.sep)
