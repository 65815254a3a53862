"""The command line as a whole: light, and never a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidcurate.cli import VERBS, main, options
from sidcurate.errors import MissingResourceError

HEAVY = {"boto3", "distributed", "numpy", "pandas", "pyarrow", "rawpy", "rich", "torch", "jinja2", "pebble", "sidtrain"}


def modules_after(arguments: str) -> set[str]:
    start = f"try: main({arguments})\nexcept SystemExit: pass"
    program = f"import sys; from sidcurate.cli import main\n{start}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["ingest", "--help"],
        ["finetune", "--help"],
        ["enhance", "--help"],
        ["weights", "import", "--help"],
    ],
)
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    assert modules_after(repr(arguments)) & HEAVY == set()


EXAMPLES = str(Path(__file__).parents[1] / "manifests" / "examples")


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--device", "gone", "--checkpoint", "run"],
        ["evaluate", "--manifests", EXAMPLES, "--device", "oneplus7", "--checkpoint", "gone"],
        ["enhance", __file__, "--checkpoint", "gone"],
        ["enhance", __file__, "--checkpoint", "gone", "--output", "picture.jpg"],
        ["finetune", "--device", "gone"],
        ["finetune", "--device", "gone", "--pairs", "2,4"],
        ["finetune", "--manifests", EXAMPLES, "--device", "oneplus7", "--init", "gone"],
    ],
)
def test_a_wrong_name_is_answered_without_torch(arguments: list[str]) -> None:
    assert "torch" not in modules_after(repr(arguments))


def test_rules_load_no_array_library() -> None:
    assert modules_after("['rules', 'PAIR201']") & {"numpy", "pandas", "pyarrow", "rawpy", "torch"} == set()


@pytest.mark.parametrize("work", ["sidtrain.data.store", "sidcurate.ingest.folder"])
def test_workers_wait_for_no_table_library(work: str) -> None:
    """A worker imports the module of its work before its first raw."""
    program = f"import sys, {work}\nprint(*{{'pandas', 'torch', 'scipy'}} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    command = main.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    for each in (command, *getattr(command, "commands", {}).values()):
        assert each.get_short_help_str(), verb
        assert all(parameter.help for parameter in each.params if parameter.param_type_name == "option"), verb


def test_an_unknown_verb_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["inges"])
    assert result.exit_code == 2
    assert "No such command 'inges'. Did you mean 'ingest'?" in result.stderr


def test_a_terminal_without_the_signs_shows_a_substitute() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "sidcurate", "rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "100-300?," in done.stdout


@pytest.mark.parametrize("verb", [["schema"], ["rules"], ["rules", "--format", "csv"]], ids=["text", "table", "csv"])
@pytest.mark.parametrize("talk_too", [False, True])
def test_a_reader_that_has_seen_enough_is_no_error(talk_too: bool, verb: list[str]) -> None:
    """As `| head` is, which goes before all is printed."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sidcurate", *verb]
    talk = writer if talk_too else subprocess.PIPE
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writer, stderr=talk, text=True, check=False, env=buffered)
    os.close(writer)
    assert (done.returncode, done.stderr or "") == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full is here")
@pytest.mark.parametrize("output_format", ["table", "csv"])
def test_results_for_which_there_is_no_space_are_one_message(output_format: str) -> None:
    command = [sys.executable, "-m", "sidcurate", "rules", "--format", output_format]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr


@pytest.mark.parametrize(("columns", "wide"), [("60", False), ("200", True)])
def test_the_rules_fit_a_terminal(columns: str, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = CliRunner().invoke(main, ["rules"]).stdout.splitlines()
    assert all(len(line) <= int(columns) for line in lines)
    assert any("The same bytes stand under two names." in line for line in lines), "in one line, not in a narrow column"
    assert lines[0].startswith("code") == wide


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import ctypes; ctypes.CDLL('libcublas.so.12')", "OSError: libcublas.so.12: cannot open shared object file"),
        ("from torch._C import *", "ModuleNotFoundError: No module named 'torch._C'"),
        ("raise RuntimeError('built for another NumPy')", "RuntimeError: built for another NumPy"),
    ],
)
def test_a_torch_that_is_installed_but_broken_is_said_to_be_so(tmp_path: Path, module: str, said: str) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(module)
    command = [sys.executable, "-m", "sidcurate", "weights", "import", "weights.pt", "out"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 4
    assert f"sidcurate: torch is installed, but cannot be loaded ({said}" in done.stderr
    assert "pip install --force-reinstall torch" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_a_package_s_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow_torch").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(options, "TRAIN_EXTRA", ("hollow_torch",))
    with pytest.raises(MissingResourceError, match=r"hollow_torch is not installed: pip install 'sidcurate\[train\]'"):
        options.require_train_extra()


def import_that_raises(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> Result:
    def fail() -> None:
        raise fault

    monkeypatch.setattr("sidcurate.cli.weights.require_train_extra", fail)
    return CliRunner().invoke(main, ["weights", "import", "x", "y"], catch_exceptions=False)


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="ours"):
        import_that_raises(RuntimeError("ours"), monkeypatch)


@pytest.mark.parametrize(
    "fault", [MemoryError("8 GiB"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 GiB")]
)
def test_too_little_memory_is_said_in_any_verb(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    done = import_that_raises(fault, monkeypatch)
    assert done.exit_code == 4
    assert done.stderr.startswith("sidcurate: the memory is not enough (")
    assert done.stderr.endswith("8 GiB); end other programs, then run again\n")
