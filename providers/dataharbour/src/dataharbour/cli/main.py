"""The verbs of the `harbour` command.

Each verb imports what it needs when it runs, so that `--help` stays quick. Data goes to standard
output, talk to standard error. Exit codes: 0 done, 1 an expected failure (with its remedy),
2 wrong usage, 3 not ready (`status`), 4 a run that failed (`job submit --follow`), 5 not allowed,
6 not found, 7 no answer (try again later), 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from dataharbour.cli import jobs
from dataharbour.errors import DataHarbourError

if TYPE_CHECKING:
    from dataharbour.platform.layout import Checkout, Home

NOT_READY = 3

app = typer.Typer(
    name="harbour",
    help="DataHarbour: an operations platform for small data teams, built into Apache Airflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jobs.app, name="job")
Output = Annotated[str, typer.Option("--output", "-o", help="text or json.")]


def run() -> NoReturn:
    """Run the command and leave with its exit code."""
    try:
        app(standalone_mode=True)
    except DataHarbourError as error:
        print(f"{error.problem}\n  remedy: {error.remedy}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@app.command()
def up(
    tour: Annotated[bool, typer.Option(help="Run the first job when the platform stands.")] = True,
) -> None:
    """Start the platform, and run a real Spark job on it."""
    from dataharbour.cli import show
    from dataharbour.platform.assemble import open_home
    from dataharbour.platform.layout import find_checkout
    from dataharbour.platform.report import Report
    from dataharbour.platform.tour import first_run, gold_rows, welcome
    from dataharbour.platform.up import up as start

    checkout = find_checkout()
    home = open_home(checkout)
    report = Report()
    with report.showing():
        platform = start(checkout, home, report)
    report.say(f"The platform is ready after {report.elapsed_s:.0f} s.")
    if tour:
        first_run(platform, report)
        show.table(gold_rows(platform))
    welcome(platform, report)


@app.command()
def down() -> None:
    """Stop the platform; data and secrets stay."""
    from dataharbour.platform.down import down as stop
    from dataharbour.platform.report import Report

    report = Report()
    with report.showing():
        stopped = stop(_here()[1], report)
    report.say("The platform is down." if stopped else "The platform was not running.")


@app.command()
def restart() -> None:
    """Stop the platform and start it again."""
    down()
    up(tour=False)


@app.command()
def status(output: Output = "text") -> None:
    """Show the services, their ports, and whether the platform is ready."""
    from dataharbour.cli import show
    from dataharbour.platform.status import status as look

    found = look(_here()[1])
    show.status(found, output=output)
    if not found["ready"]:
        raise typer.Exit(NOT_READY)


@app.command()
def env(output: Output = "text") -> None:
    """Print the variables that clients need:  eval "$(./harbour env)"."""
    from dataharbour.cli import show
    from dataharbour.platform.environment import as_exports, environment

    variables = environment(_here()[1])
    if output == "json":
        show.json_document(variables)
    else:
        print(as_exports(variables))  # noqa: T201


@app.command(name="open")
def open_browser() -> None:
    """Print a link that signs you in once, and open it where there is a browser."""
    from dataharbour.platform.sign_in import open_link

    open_link(_here()[1])


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="A service of `harbour status`, or `supervisor`.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many to begin with.")
    ] = 50,
) -> None:
    """Print the log of a service."""
    from dataharbour.cli.tail import tail

    tail(_here()[1].logs, service, lines=lines, follow=follow)


@app.command()
def doctor(output: Output = "text") -> None:
    """Look for what would keep the platform from working, and say the remedy."""
    from dataharbour.cli import show
    from dataharbour.platform import preflight

    checkout, home = _here()
    fresh = not (home.data / "postgres" / "PG_VERSION").exists()
    checks = preflight.run(checkout, home, fresh=fresh)
    show.checks(checks, output=output)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def destroy(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop the platform and delete its state folder: data, secrets, logs."""
    from dataharbour.platform.destroy import destroy as delete
    from dataharbour.platform.report import Report

    home = _here()[1]
    if not yes:
        if not sys.stdin.isatty():
            raise DataHarbourError(
                f"destroy would delete {home.root} with all its data, and nobody is there to ask.",
                "Add --yes.",
            )
        typer.confirm(f"Delete {home.root} with all its data?", abort=True, err=True)
    report = Report()
    with report.showing():
        deleted = delete(home, report)
    report.say(f"{home.root} is gone." if deleted else f"There is nothing in {home.root}.")


_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASS_ON)
def test(context: typer.Context) -> None:
    """Run all tests (further arguments go to pytest)."""
    from dataharbour.cli.develop import run_tests

    raise typer.Exit(run_tests(_here()[0].root, context.args))


@app.command()
def check() -> None:
    """Lint, types, import rules, locks and unit tests: the inner loop, under a minute."""
    from dataharbour.cli.develop import run_checks

    raise typer.Exit(run_checks(_here()[0].root))


@app.command(context_settings=_PASS_ON)
def bench(context: typer.Context) -> None:
    """Measure the platform beside what one would use instead (further arguments: --help)."""
    from dataharbour.cli.develop import run_benchmarks

    raise typer.Exit(run_benchmarks(_here()[0].root, context.args))


def _here() -> tuple[Checkout, Home]:
    from dataharbour.platform.layout import find_checkout, find_home

    checkout = find_checkout()
    return checkout, find_home(checkout)
