"""Every command of the documentation is one that kerasdet's tools take: the tool, its flags and its configs exist.

Those of the main path are also run: `tests/tools/test_own_data.py` runs docs/own-data.md.
"""

import itertools
import pkgutil
import re
import shlex

import kerasdet.tools
import pytest

from kerasdet.weights.zoo import RELEASED
from tests.companion import Companion
from tests.docs.pages import PAGES, ROOT, blocks, made, name, prose

TOOLS = {module.name for module in pkgutil.iter_modules(kerasdet.tools.__path__)}
# Programs that are not kerasdet's, whose commands are taken as they are.
NOT_RUN = {"git", "make", "pip", "docker", "curl", "pytest", ".venv/bin/python"}
VARIABLE = re.compile(r"[A-Z_]+=")
# An argument that stands for others, and a tool that stands for all.
OPEN = "…"
ANY = ("NAME", "TOOL", "CONFIG")
# What is past was true when it was written.
PAST = {ROOT / "RESULTS.md", ROOT / "CHANGELOG.md"}


def commands(page):
    """The commands of a page in words, without variables set before them: of its blocks and of its sentences."""
    lines = []
    for block in blocks(page, "", "bash"):
        if not re.match(r"\w+ \{", block):  # the settings of a server
            lines += block.replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:kerasdet |python -m tools\.)[^`]*)`", prose(page))
    found = [itertools.dropwhile(VARIABLE.match, shlex.split(line, comments=True)) for line in lines]
    return [tuple(words) for words in map(list, found) if words]


def tool(words):
    """The tool of kerasdet that a command runs, and its arguments; None if it is another program."""
    if words[0] == "kerasdet":
        return words[1], words[2:]
    if words[:2] == ("python", "-m") and words[2].startswith("tools."):
        return words[2].removeprefix("tools."), words[3:]
    return None


def given(word):
    """An argument, with a config in the place of one that is left open."""
    return word.replace(f"--config={OPEN}", "--config=configs/retinanet/own_data.py")


COMMANDS = sorted({(name(page), words) for page in PAGES if page not in PAST for words in commands(page)})


@pytest.fixture(scope="module")
def parser():
    companion = Companion("tests.docs.flags")
    yield lambda program, *commands: companion.ask(tool=program, commands=commands, folder=str(ROOT))
    companion.close()


def test_every_command_is_known():
    """A tool of kerasdet, or a program of others that is not run here."""
    assert len(COMMANDS) > 60
    for where, words in COMMANDS:
        if tool(words) is None:
            assert words[0] in NOT_RUN or words[:2] == ("python", "-m"), f"{where}: {shlex.join(words)}"
        else:
            assert tool(words)[0] in {*TOOLS, *ANY}, f"{where}: {shlex.join(words)}"


@pytest.mark.parametrize("program", sorted(TOOLS))
def test_the_tool_takes_its_commands(program, parser):
    """Its flags, the keys of its configs, and the names of configs, recipes and released models."""
    own = [(where, tool(words)[1]) for where, words in COMMANDS if (tool(words) or [None])[0] == program]
    own = [one for one in own if one[1]]  # else a sentence names the tool
    closed = [[word for word in map(given, arguments) if OPEN not in word] for _, arguments in own]
    for (where, arguments), said in zip(own, parser(program, *closed), strict=True):
        assert said == "", f"{where}: {program} {shlex.join(arguments)}"
    for where, arguments in own:
        for word in arguments:
            if word.startswith("--model=") and program == "train":
                assert (ROOT / "configs" / word.removeprefix("--model=") / "own_data.py").is_file(), f"{where}: {word}"
            elif program == "ladder" and not word.startswith("--") and word not in (*ANY, OPEN):
                assert (ROOT / "configs" / f"{word}.py").is_file(), f"{where}: {word}"
            elif program == "import_weights" and not word.startswith("--"):
                assert word in {*RELEASED, *ANY}, f"{where}: {word}"


@pytest.mark.parametrize("program", ("import_weights", "evaluate"))
def test_the_tool_takes_the_commands_of_the_zoo(program, parser):
    """Each row of the site's table imports its model and scores it."""
    lines = [shlex.split(line) for name in RELEASED for line in made().reproduction(name)]
    own = [arguments for _, tool, *arguments in lines if tool == program]
    assert len(own) == len(RELEASED) and set(parser(program, *own)) == {""}


def test_a_command_that_no_tool_takes_is_found(parser):
    """The test itself."""
    wrong = (
        (["photos", "--minuets=5"], "there is no flag --minuets"),
        (["--config=configs/retinanet/none.py"], "there is no such file"),
        (["--config=configs/retinanet/own_data.py", "--config.train.stepz=3"], "there is no flag --config.train.stepz"),
    )
    for (_, said), found in zip(wrong, parser("train", *(arguments for arguments, _ in wrong)), strict=True):
        assert said in found
