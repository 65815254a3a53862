"""`sidcurate demo`: the whole road, by the commands that a person would type."""

import itertools
import shlex
import subprocess
import sys
from pathlib import Path

import click

from sidcurate.cli.options import require_train_extra
from sidcurate.errors import MissingResourceError

# How the second of the two reports that this tool grew from shot its Canon: ratios mostly under 100 and some under 10,
# wrong times in the names, ISO changed between the frames, a touched tripod, one frame held upright.
_CARELESS = (
    "--ratios 30,10,33,3,66,300,25,7,100,12 "
    "--fault wrong-name=2.5@2,5,8 --fault iso-changed=4@3,7 --fault shifted=7@1,10 --fault portrait@4"
)
_WHERE = "--manifests {out}/manifests"
_STEPS = (
    ("Shoot two sessions: a Canon as one should not, and a OnePlus with care.", 0, ""),
    ("", 0, "simulate {out}/raws/canon90d --device canon90d " + _CARELESS),
    ("", 0, "simulate {out}/raws/oneplus7 --device oneplus7 --scenes 16"),
    ("Read each raw once.", 0, "ingest {out}/raws/canon90d " + _WHERE),
    ("", 0, "ingest {out}/raws/oneplus7 " + _WHERE),
    (
        "Judge the pairs. The Canon's are flagged one by one; the exit code is 1.",
        1,
        "validate --device canon90d " + _WHERE,
    ),
    (
        "Look at one of them: its frames, what its pixels say, and a picture.",
        1,
        "validate --device canon90d --explain 00001_00 --png {out}/canon90d-00001_00.png " + _WHERE,
    ),
    ("The OnePlus's are clean.", 0, "validate --device oneplus7 " + _WHERE),
    (
        "Train a narrow network for the OnePlus, for a few minutes.",
        0,
        "finetune --device oneplus7 --recipe demo --runs {out}/runs --store {out}/store " + _WHERE,
    ),
    (
        "Evaluate it on scenes that it never saw, beside three trivial pictures.",
        0,
        "evaluate --device oneplus7 --checkpoint {out}/runs/oneplus7/demo --store {out}/store " + _WHERE,
    ),
)


@click.command(short_help="Run the whole road on two simulated cameras.")
@click.argument("out", type=click.Path(path_type=Path), required=False)
def command(out: Path | None) -> None:
    """Simulate two cameras, ingest, validate, fine-tune and evaluate, in the new folder OUT (default: demo).

    Each step is a command that you could type; it is shown before it runs. Ten minutes on two cores are enough.
    """
    require_train_extra()
    folder = out or next(path for path in _candidates() if not path.exists())
    for heading, expected, step in _STEPS:
        if heading:
            click.secho(f"\n{heading}", bold=True)
        if step:
            _run(step.format(out=shlex.quote(str(folder))), expected)
    run = folder / "runs" / "oneplus7" / "demo"
    click.secho(f"\nThe pictures: {run / 'evaluation.png'}; the figures: {run / 'evaluation.json'}", bold=True)


def _run(step: str, expected: int) -> None:
    click.echo(f"$ sidcurate {step}")
    code = subprocess.run([sys.executable, "-m", "sidcurate", *shlex.split(step)], check=False).returncode
    if code != expected:
        raise MissingResourceError(f"the demo stopped: exit {code} where {expected} was expected; the message is above")


def _candidates() -> "itertools.chain[Path]":
    return itertools.chain([Path("demo")], (Path(f"demo-{number}") for number in itertools.count(2)))
