"""The order of the parts, read from the sources: imports run one way, papers stand alone, docstrings name shapes."""

import ast
import pathlib
import re

import pytest

import kerasdet

ROOT = pathlib.Path(kerasdet.__file__).parent

# From the ground up; what stands on one floor may use its neighbors, in no circle.
FLOORS = (
    ("version", "command", "fonts"),
    ("contract", "boxes"),
    ("images", "views", "ops"),
    ("anchors", "clusters", "coders", "linear", "targets", "losses", "decoding", "detect"),
    ("layers",),
    ("backbones",),
    ("weights",),
    ("detectors",),
    ("training", "evaluation", "export", "load", "runs", "draw", "benchmark", "recipes", "report", "demo"),
    ("tools", "configs"),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}

# Data stands beside the models: who may use it, and what it may use.
DATA_USES = {"contract", "boxes", "images", "views", "data", "version"}
USES_DATA = {"data", *FLOORS[-1], *FLOORS[-2]}

# Keras' own verb calls upward, and so imports when it is called.
UPHILL = {
    ("kerasdet.detectors.saving", "kerasdet.export.saved_model"),
    ("kerasdet.detectors.saving", "kerasdet.export.tflite"),
}

# Functions of plain numbers or of tensors of any shape.
SHAPELESS = {"kerasdet.anchors.octaves", "kerasdet.losses.widen"}

MODULES = {
    ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def tree(module):
    return ast.parse(MODULES[module].read_text())


def imports(module):
    """Modules of kerasdet that a module imports, anywhere in its text."""
    found = set()
    for node in ast.walk(tree(module)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: write the whole name instead of dots"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
        found.update(name for name in names if name in MODULES)
    return found


def part(module):
    """The room of a module: kerasdet.losses.boxes is in losses."""
    return module.split(".")[1] if "." in module else None


ARROWS = [(module, used) for module in MODULES for used in sorted(imports(module))]


def test_imports_are_found():
    """The reader itself: a known arrow of each form."""
    assert len(MODULES) > 30
    assert {
        ("kerasdet.targets.assign", "kerasdet.boxes"),
        ("kerasdet.detectors.retinanet", "kerasdet.decoding.candidates"),
        ("kerasdet.backbones.resnet", "kerasdet.layers.conv"),
        ("kerasdet.data.pictures", "kerasdet.images"),
    } <= set(ARROWS)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_floor(module):
    assert part(module) in {None, "data", "__main__", *FLOOR}


@pytest.mark.parametrize("module, used", [one for one in ARROWS if None not in map(part, one) and one not in UPHILL])
def test_no_import_runs_backward(module, used):
    room, other = part(module), part(used)
    if room == "data":
        assert other in DATA_USES
    elif other == "data":
        assert room in USES_DATA
    elif room != "__main__":
        assert FLOOR[other] <= FLOOR[room]


def test_no_import_cycle():
    """Imports inside functions count too."""
    assert UPHILL <= set(ARROWS)
    after = {module: [used for other, used in ARROWS if other == module] for module in MODULES}
    done = set()

    def visit(module, trail):
        assert module not in trail, f"a circle of imports: {' -> '.join((*trail, module))}"
        if module not in done:
            for used in after[module]:
                visit(used, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def papers():
    """The files of detectors that hold a detector's class."""
    base = ("complete", "detector", "solvers", "predict", "saving", "settings", "step", "yolo")
    return [m for m in MODULES if m.startswith("kerasdet.detectors.") and m.rpartition(".")[2] not in base]


# Papers that say themselves that they extend another.
EXTENDS = {
    ("kerasdet.detectors.centernet_triplets", "kerasdet.detectors.cornernet"),
    ("kerasdet.detectors.cornernet_saccade", "kerasdet.detectors.cornernet"),
    ("kerasdet.detectors.darknet", "kerasdet.detectors.yolov1"),
    ("kerasdet.detectors.darknet", "kerasdet.detectors.yolov2"),
    ("kerasdet.detectors.darknet", "kerasdet.detectors.yolov3"),
    ("kerasdet.detectors.faster_rcnn", "kerasdet.detectors.fast_rcnn"),
    ("kerasdet.detectors.iou_net", "kerasdet.detectors.faster_rcnn"),
    ("kerasdet.detectors.mask_rcnn", "kerasdet.detectors.fast_rcnn"),
    ("kerasdet.detectors.mask_rcnn", "kerasdet.detectors.faster_rcnn"),
    ("kerasdet.detectors.softer_nms", "kerasdet.detectors.faster_rcnn"),
    ("kerasdet.detectors.sppnet", "kerasdet.detectors.rcnn"),
}


def test_papers_stand_alone():
    assert papers()
    for module in papers():
        others = {used for used in imports(module) if used in papers() and (module, used) not in EXTENDS}
        assert not others, f"{module} imports another paper: {sorted(others)}"


def functions():
    """Public functions of the parts that have no weights: name, and docstring."""
    for module in MODULES:
        if part(module) in {"boxes", "coders", "losses", "targets", "decoding", "anchors", "clusters"}:
            for node in tree(module).body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{module}.{node.name}", ast.get_docstring(node) or ""


FUNCTIONS = dict(functions())


def names_shape(text):
    return re.search(r"\[(\.\.\.|[A-Z]\w*(, |\]))", text) or "scalar" in text.lower()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in SHAPELESS])
def test_docstrings_name_shapes(name):
    """A shape like [B, A, 4] or [..., 4], or a neighbor to which the docstring refers for its arguments."""
    text = FUNCTIONS[name]
    others = (f"{name.rpartition('.')[0]}.{other}" for other in re.findall(r"as in `(\w+)`", text))
    assert names_shape(text) or any(names_shape(FUNCTIONS[other]) for other in others)


def test_shapeless_functions_exist():
    assert len(FUNCTIONS) > 30 and SHAPELESS <= set(FUNCTIONS)
