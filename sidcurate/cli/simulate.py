"""`sidcurate simulate`: a session of a synthetic camera, with known truth."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidcurate.cli.console import progress, say, say_next
from sidcurate.cli.options import dry_run_option, size_option
from sidcurate.counted import counted

if TYPE_CHECKING:
    from sidcurate.synthetic.shots import Shot


def _print_faults(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    click.echo("\n".join(_fault_lines()))
    ctx.exit()


def _fault_lines() -> Iterator[str]:
    from sidcurate.synthetic.faults import FAULTS

    yield f"{'fault':22} {'rule':8} {'frames':7} what happens, and its strength"
    for fault in FAULTS.values():
        bounds = fault.strength
        strength = f" [{bounds.default:g}; {bounds.low:g} to {bounds.high:g} {bounds.meaning}]" if bounds else ""
        yield f"{fault.name:22} {fault.code:8} {fault.frames:7} {fault.text}{strength}"


def _ratios(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[Fraction, ...]:
    try:
        return tuple(map(Fraction, value.split(",")))
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{value!r} is not a list of ratios, such as 100,250,300", ctx, parameter) from error


@click.command(short_help="Shoot a session with a synthetic camera, faults included.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--device", default="canon90d", show_default=True, help="Camera to simulate; a wrong name lists them.")
@click.option("--scenes", type=click.IntRange(min=1), default=10, show_default=True, help="How many scenes.")
@size_option
@click.option(
    "--ratios", callback=_ratios, default="100,250,300", show_default=True, help="Long over short time, scene by scene."
)
@click.option("--shorts", type=click.IntRange(min=1), default=1, show_default=True, help="Short frames a scene.")
@click.option("--iso", type=click.IntRange(50, 51200), default=None, help="ISO setting.  [default: the camera's own]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same files.")
@click.option(
    "--names",
    type=click.Choice(["sid", "camera"]),
    default="sid",
    show_default=True,
    help="File names with the exposure time (00001_00_0.04s.dng), or as a camera counts (IMG_0001.dng).",
)
@click.option(
    "--scenery",
    type=click.Choice(["leaves", "fence", "black", "sky", "vignetted"]),
    default="leaves",
    show_default=True,
    help="What the scenes show: fence repeats, black is dark but for a spot, sky clips.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=STRENGTH][@SCENES]",
    help="Something that goes wrong, such as shifted=6@1,3-5 (in all scenes where none are named). Repeatable.",
)
@click.option(
    "--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_print_faults, help="Print the faults."
)
@dry_run_option
def command(
    out: Path,
    faults: tuple[str, ...],
    device: str,
    iso: int | None,
    dry_run: bool,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Shoot short and long frames of invented night scenes into the new folder OUT.

    The files are real DNGs with the measured noise of a camera of that kind. Each scene gets one well-exposed frame of
    10 s and its short frames. What is true of them (light, zero, shift, faults) is written beside them as truth.json,
    so that you can see what `sidcurate validate` finds, and what it misses.
    """
    from sidcurate.synthetic.bodies import body_named
    from sidcurate.synthetic.plan import Plan, planned_shots
    from sidcurate.synthetic.planting import requested_fault
    from sidcurate.synthetic.session import simulate

    body = body_named(device)
    plan = Plan(replace(body, iso=iso or body.iso), faults=tuple(map(requested_fault, faults)), **choices)
    shots = [shot for shot in planned_shots(plan) if shot.written]
    if dry_run:
        click.echo("\n".join(map(_shot_line, shots)))
        say("dry run: nothing was written")
        return
    with progress() as report:
        truth = simulate(out, plan, partial(report, "shooting"))
    faulty = sum(bool(frame.faults) for frame in truth.frames)
    frames = f"{counted(len(truth.frames), 'frame')} of {counted(plan.scenes, 'scene')}"
    click.echo(f"{frames} ({device}, {faulty} with a fault) in {out}")
    say_next("ingest", out, "--device", device)


def _shot_line(shot: "Shot") -> str:
    return f"{shot.name:24} {shot.role:5} {', '.join(shot.faults)}".rstrip()
