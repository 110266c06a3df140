"""What a reader counted: photos on disk and read, annotations and boxes kept, and why some are missing."""

import dataclasses
import os
import re

# No line is longer; a terminal shows it, and a reader takes it in.
LONGEST = 300
_SHOWN = 3


@dataclasses.dataclass
class Tally:
    """The counts of one reading.

    Attributes:
        found: photos below the folder, those that programs hide among them; None where there is no folder.
        annotations: objects that the annotation files hold.
        kinds: dict of what happened to some of them, as given to `note`, to its count and the first three that it
            happened to.
    """

    found: int | None = None
    annotations: int = 0
    kinds: dict = dataclasses.field(default_factory=dict)

    def note(self, kind, names):
        """Counts that something happened.

        Args:
            kind: what follows the number in a line, with words for one and for several: "{box is|boxes are} dropped".
            names: what it happened to, a list.
        """
        count, first = self.kinds.get(kind, (0, []))
        if names:
            self.kinds[kind] = (count + len(names), (first + list(names[:_SHOWN]))[:_SHOWN])

    def lines(self, source):
        """One line a kind, with its count and the first three names.

        Args:
            source: the file or folder that was read.
        """
        return [counted(source, kind, count, first) for kind, (count, first) in self.kinds.items()]


def counted(source, kind, count, first):
    """A line such as "labels.json: 12 boxes are dropped: annotation 3, annotation 4, annotation 9 ..."."""
    more = " ..." if count > len(first) else ""
    kind = re.sub(r"\{([^{|}]*)\|([^{|}]*)\}", lambda words: words[1] if count == 1 else words[2], kind)
    home = source if os.path.isdir(source) else os.path.dirname(source)
    first = [name.replace(os.path.join(home, ""), "") for name in first] if home else first
    for shown in range(len(first), 0, -1):
        line = f"{source}: {count} {kind}: {', '.join(first[:shown])}{more if shown == len(first) else ' ...'}"
        if len(line) <= LONGEST:
            return line
    return short(f"{source}: {count} {kind}: {first[0]}")


def short(line):
    """A line cut to what a terminal shows, in the middle: its beginning says where, its end what to do."""
    if len(line) <= LONGEST:
        return line
    half = (LONGEST - 5) // 2
    return f"{line[:half]} ... {line[-half:]}"
