"""The commands that a person would type, run in this process."""

from click.testing import CliRunner, Result

from sidcurate.cli import main


def run(verb: str, *arguments: object, exit_code: int = 0) -> Result:
    """Run a verb, and fail where it ends with another exit code."""
    result = CliRunner().invoke(main, [verb, *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result
