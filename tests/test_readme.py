"""The README and the pages beside it are tested: what they show exists, and their tables are those of the code."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sidcurate.cli import VERBS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCKS = [block for page in PAGES.values() for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = sorted({line for line in LINES if line.startswith("sidcurate ")})


def test_every_verb_has_its_row_and_no_other() -> None:
    assert tuple(re.findall(r"^\| `sidcurate ([a-z-]+)[^`]*` \|", README, re.MULTILINE)) == VERBS


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line: str) -> None:
    _, verb, *arguments = shlex.split(line)
    command = main.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None, line
    if isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    parser = command.make_parser(command.context_class(command, info_name=verb))
    parser.parse_args(arguments)


def test_the_rule_table_is_the_code_s() -> None:
    generated = CliRunner().invoke(main, ["rules", "--format", "markdown"]).stdout.strip()
    shown = re.search(r"<!-- rules: [^\n]*-->\n(.*?)<!-- end of rules -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == generated


def test_every_dependency_earns_its_row() -> None:
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \| (core|train|s3|cluster) \|", README, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    declared = {"core": PROJECT["dependencies"], **{name: extras[name] for name in extras if name != "dev"}}
    assert named == {(re.split(r"[<>=]", each)[0], where) for where, listed in declared.items() for each in listed}


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [re.findall(r"(?:^|`)make ([a-z]+)", page, re.MULTILINE) for page in PAGES.values()]
    assert set().union(*named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_place_it_points_to_is_there(page: Path) -> None:
    for name, heading in re.findall(r"\]\(([^)#:]*)#?([^)]*)\)", PAGES[page]):
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), name
        titles = re.findall(r"^#+ (.*)$", PAGES.get(target, ""), re.MULTILINE)
        slugs = [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not heading or heading in slugs, f"{name}#{heading}"
