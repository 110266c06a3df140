"""Lists the released models that can be loaded by name: their tasks, published AP, sizes and sources.

    python -m tools.models
    python -m tools.models mask --sort=AP
    python -m tools.models --task=keypoints --urls

Words leave models whose name, detector or source has all of them. Any tool takes a name in the place of a run folder.
"""

import json

from absl import flags

from kerasdet import command

TASK = flags.DEFINE_enum("task", None, ("boxes", "masks", "keypoints"), "Only models of this task.")
SORT = flags.DEFINE_enum("sort", None, ("AP", "parameters"), "Best or smallest first; by default as in the table.")
URLS = flags.DEFINE_bool("urls", False, "Whether the address and license of each are shown too.")
JSON = flags.DEFINE_bool("json", False, "Whether the table is printed as JSON.")

# The table is shown at once.
needs_tensorflow = False


def main(arguments):
    from kerasdet.weights.zoo import RELEASED

    words = [word.lower() for word in arguments[1:]]
    chosen = {
        name: one
        for name, one in RELEASED.items()
        if TASK.value in (None, one.task)
        and all(word in f"{name} {one.detector} {one.task} {one.source}".lower() for word in words)
    }
    if not chosen:
        raise ValueError("no released model is so; `kerasdet models` lists all.")
    if SORT.value == "AP":
        chosen = dict(sorted(chosen.items(), key=lambda pair: -pair[1].published.get("AP", 0.0)))
    elif SORT.value == "parameters":
        chosen = dict(sorted(chosen.items(), key=lambda pair: pair[1].parameters or 10**12))
    if JSON.value:
        print(json.dumps({name: one._asdict() for name, one in chosen.items()}, indent=2))
        return
    print(f"{'name':36s} {'detector':12s} {'task':10s} {'published':32s} parameters")
    for name, one in chosen.items():
        figures = {key.replace("_", " "): value for key, value in one.published.items() if key != "data"}
        said = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        count = "" if one.parameters is None else f"{one.parameters / 1e6:.1f} M"
        print(f"{name:36s} {one.detector:12s} {one.task:10s} {said:32s} {count}".rstrip())
        if URLS.value:
            print(f"    {one.published['data']}; {one.license}\n    {one.url or one.source}")


if __name__ == "__main__":
    command.script(main)
