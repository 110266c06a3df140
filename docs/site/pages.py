"""The pages that the site has beside the repository's own: one a paper, the zoo's table, the API, and sources.

mkdocs calls the functions named `on_…`. All pages lie as in the repository, so that a link means the same in both. A
link to what is no page there, such as a module, leads to a page with its text.
"""

import ast
import functools
import json
import pathlib
import pkgutil
import re

import jinja2
from mkdocs.structure.files import File, Files

from kerasdet.weights.zoo import RELEASED

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Pages that lie elsewhere.
OTHERS = ("README.md", "RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "custom_ops/README.md")
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(DOCS / "site"), trim_blocks=True, autoescape=jinja2.select_autoescape()
)


def on_config(config):
    """Puts the pages that are made here into the navigation."""
    named = json.dumps([*config.nav, "docs/papers.md"])
    guides = [f"docs/{file.name}" for file in sorted(DOCS.glob("*.md")) if f"docs/{file.name}" not in named]
    groups = {}
    for paper in papers():
        groups.setdefault(paper["group"], []).append(paper["page"])
    made = {
        "Papers": ["docs/papers.md", *({name: pages} for name, pages in groups.items()), {"In depth": guides}],
        "API": ["docs/api/commands.md", *(f"docs/api/{room}.md" for room in rooms())],
    }
    config.nav = [{name: made.get(name, pages)} for entry in config.nav for name, pages in entry.items()]
    return config


def on_files(files, config):
    """All files of the site, with those of the theme."""
    pages = [*map(ROOT.joinpath, OTHERS), *sorted(DOCS.glob("*.md"))]
    plain = [path for ending in ("*.jpg", "*.svg", "site/*.js", "site/*.css") for path in sorted(DOCS.glob(ending))]
    texts = {paper["page"]: paper_page(paper) for paper in papers()}
    texts.update({f"docs/api/{room}.md": f"# kerasdet.{room}\n\n::: kerasdet.{room}\n" for room in rooms()})
    texts["docs/api/commands.md"] = commands_page()
    texts.update({f"{path.relative_to(ROOT)}.md": source_page(path) for path in linked(pages, texts)})
    found = [File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)) for path in pages + plain]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *found, *(File.generated(config, name, content=text) for name, text in texts.items())])


def on_page_markdown(markdown, page, config, files):
    """Leads links to sources to their pages, and adds what is made of tables."""
    here = (ROOT / page.file.src_uri).parent
    if page.file.src_uri == "docs/papers.md":
        for paper in papers():
            more = f"[More on {paper['name']}]({pathlib.Path(paper['page']).relative_to('docs')})"
            markdown = markdown.replace(paper["text"], f"{paper['text']}\n\n{more}")
    if page.file.src_uri == "docs/zoo.md":
        markdown += "\n" + zoo_table()
    return LINK.sub(lambda link: f"]({link[1]}.md)" if is_source(here / link[1]) else link[0], markdown)


def papers():
    """The sections of docs/papers.md: dicts of `group`, `name`, `text`, `kind` (the class), `module` and `page`."""
    classes = (ROOT / "kerasdet/detectors/__init__.py").read_text()
    modules = {
        kind: name for name, kind in re.findall(r"^from kerasdet\.detectors\.(\w+) import (\w+)$", classes, re.M)
    }
    found = []
    for part in re.split(r"^## ", (DOCS / "papers.md").read_text(), flags=re.M)[1:]:
        group, *sections = re.split(r"^### ", part, flags=re.M)
        for section in sections:
            name, _, text = section.partition("\n")
            kind = re.search(r"^model = (\w+)\(", text, re.M)[1]
            page = f"docs/papers/{'-'.join(re.findall(r'[a-z0-9]+', name.lower()))}.md"
            one = {"group": group.strip(), "name": name, "text": text.strip(), "kind": kind, "page": page}
            found.append({**one, "module": modules[kind]})
    return found


def paper_page(paper):
    """What the story says, and what the code, the configs and the zoo know of the paper's class."""
    file = f"kerasdet/detectors/{paper['module']}.py"
    guides = [page for page in sorted(DOCS.glob("*.md")) if f"{file})" in page.read_text()]
    released = {name: one for name, one in RELEASED.items() if one.detector == paper["kind"]}
    return TEMPLATES.get_template("paper.md").render(
        paper,
        file=file,
        identifier=f"kerasdet.detectors.{paper['module']}.{paper['kind']}",
        guides=[(page.read_text().partition("\n")[0].strip("# "), page.name) for page in guides],
        recipes=configs()[paper["module"]],
        zoo=released,
        figures={name: figures(one) for name, one in released.items()},
    )


@functools.cache
def configs():
    """For each module of a detector its configs: pairs of the path and the first paragraph of the docstring.

    A folder is named after the module, perhaps with more behind it: configs/ssdlite has those of ssd.py.
    """
    modules = {paper["module"] for paper in papers()}
    found = {}
    for file in sorted((ROOT / "configs").glob("*/[!_]*.py")):
        module = max((name for name in modules if file.parent.name.startswith(name)), key=len)
        about = ast.get_docstring(ast.parse(file.read_text())).partition("\n\n")[0]
        found.setdefault(module, []).append((str(file.relative_to(ROOT)), " ".join(about.split())))
    return found


def zoo_table():
    """The table of `kerasdet.weights.zoo`, which zoo.js filters."""
    return TEMPLATES.get_template("zoo.html").render(
        zoo=RELEASED,
        tasks=sorted({one.task for one in RELEASED.values()}),
        commands={name: reproduction(name) for name in RELEASED},
        figures={name: figures(one) for name, one in RELEASED.items()},
    )


def reproduction(name):
    """The commands that import a released model and score it on COCO."""
    released = RELEASED[name]
    module = next(paper["module"] for paper in papers() if paper["kind"] == released.detector)
    config = next(path for path, _ in configs()[module] if "coco" in path)
    form = ":keypoint" if (released.detector, released.task) == ("MaskRCNN", "keypoints") else ""
    return [
        f"kerasdet import_weights {name}" + ("" if released.url else " --file=FILE"),
        f"kerasdet evaluate presets/{name} --config={config}{form} --config.data.folder=coco",
    ]


def figures(released):
    """What was published about a released model, without its data."""
    numbers = {key.replace("_", " "): value for key, value in released.published.items() if key != "data"}
    return ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())


def rooms():
    """Names of the packages and modules of kerasdet."""
    return [module.name for module in pkgutil.iter_modules([str(ROOT / "kerasdet")]) if module.name != "__main__"]


def commands_page():
    """The docstring and the flags of each tool, read from its text: two tools cannot be imported together."""
    lines = ["# Commands", "", "Run `kerasdet NAME …` from anywhere, or `python -m tools.NAME …` in the repository."]
    for file in sorted((ROOT / "tools").glob("[!_]*.py")):
        tree = ast.parse(file.read_text())
        lines += ["", f"## {file.stem}", "```", ast.get_docstring(tree), "```", "", "| flag | |", "|---|---|"]
        for call in (one.value for one in tree.body if isinstance(one, ast.Assign) and isinstance(one.value, ast.Call)):
            if getattr(call.func, "attr", "").startswith("DEFINE_"):
                texts = [value.value for value in call.args if isinstance(value, ast.Constant)]
                lines.append(f"| `--{texts[0]}` | {texts[-1]} |")
    return "\n".join(lines) + "\n"


def linked(pages, texts):
    """The sources to which pages link; some pages are files, of others there are texts by their places."""
    places = [(path.parent, path.read_text()) for path in pages]
    places += [((ROOT / page).parent, text) for page, text in texts.items()]
    targets = {(folder / link[1]).resolve() for folder, text in places for link in LINK.finditer(text)}
    return sorted(filter(is_source, targets))


def is_source(path):
    """Whether a link leads to what is no page: a module, a folder or a notebook."""
    return path.suffix in (".py", ".ipynb") or path.is_dir()


def source_page(path):
    """The text of a module, of all modules of a folder, or of a notebook; the search leaves modules out."""
    if path.suffix == ".ipynb":
        return notebook_page(json.loads(path.read_text()))
    lines = [f"---\nsearch:\n  exclude: true\n---\n# {path.relative_to(ROOT)}"]
    for file in [path] if path.is_file() else sorted(path.glob("*.py")):
        heading = [] if file == path else [f"## {file.name}"]
        lines += [*heading, f"``````python\n{file.read_text().strip()}\n``````"]
    return "\n\n".join(lines) + "\n"


def notebook_page(notebook):
    """The cells of a notebook and what they put out: text and pictures."""
    lines = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        lines.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/jpeg" in data:
                lines.append(f"![What the cell shows](data:image/jpeg;base64,{data['image/jpeg'].strip()})")
            else:
                lines.append("```text\n" + "".join(output.get("text", data.get("text/plain", ""))).strip() + "\n```")
    return "\n\n".join(lines) + "\n"
