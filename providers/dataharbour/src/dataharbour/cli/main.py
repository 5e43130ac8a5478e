"""The verbs of the `harbour` command.

Each verb imports what it needs when it runs, so that `--help` stays quick. Data goes to standard
output, talk to standard error; `exits` has the exit codes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataharbour.cli import jobs, show
from dataharbour.cli.exits import Exit, exit_of
from dataharbour.cli.show import Form, Output
from dataharbour.errors import DataHarbourError

if TYPE_CHECKING:
    from dataharbour.platform.layout import Checkout, Home


class _Verbs(typer.core.TyperGroup):
    """Prints an expected failure with its remedy, and leaves with the code that belongs to it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except DataHarbourError as error:
            sys.stderr.write(show.plain(f"{error}\n"))
            raise typer.Exit(exit_of(error)) from None


app = typer.Typer(
    name="harbour",
    help="DataHarbour: an operations platform for small data teams, built into Apache Airflow.",
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jobs.app, name="job")


def run() -> None:
    """The command, as installed."""
    app(prog_name="harbour")


@app.command()
def up(
    tour: Annotated[bool, typer.Option(help="Run the first job when the platform stands.")] = True,
    cluster: Annotated[
        bool | None,
        typer.Option(
            help="With a standalone Spark master and worker, or without; remembered.",
            show_default=False,
        ),
    ] = None,
    notebooks: Annotated[
        bool | None,
        typer.Option(
            "--notebooks/--no-notebooks",
            help="With JupyterLab; remembered for later starts.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start the platform, and run a real Spark job on it."""
    from dataharbour.cli.tour import first_run, gold_rows, welcome
    from dataharbour.platform.assemble import open_home
    from dataharbour.platform.extras import ensure_notebooks
    from dataharbour.platform.jupyter import is_chosen
    from dataharbour.platform.layout import find_checkout
    from dataharbour.platform.report import Report
    from dataharbour.platform.supervise import Supervisor
    from dataharbour.platform.up import up as start

    checkout = find_checkout()
    report = Report()
    home = open_home(checkout, report.say)
    if is_chosen(home) if notebooks is None else notebooks:
        rest = [] if tour else ["--no-tour"]
        rest += [] if cluster is None else ["--cluster" if cluster else "--no-cluster"]
        ensure_notebooks(checkout.root, "up", "--notebooks", *rest)
    was_up = Supervisor(home).is_alive()
    with report.showing():
        platform = start(checkout, home, report, with_cluster=cluster, notebooks=notebooks)
    report.say(f"The platform is ready after {report.elapsed_s:.0f} s.")
    if tour and not was_up:
        first_run(platform, Report())  # its own: the steps of the start were shown
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
def status(output: Output = Form.TEXT) -> None:
    """Show the services, their ports, and whether the platform is ready."""
    from dataharbour.platform.status import status as look

    found = look(_here()[1])
    show.status(found, output=output)
    if not found["ready"]:
        raise typer.Exit(Exit.NOT_READY)


@app.command()
def env(output: Output = Form.TEXT) -> None:
    """Print the variables that clients need:  eval "$(./harbour env)"."""
    from dataharbour.platform.environment import as_exports, environment

    variables = environment(_here()[1])
    if output is Form.JSON:
        show.json_document(variables)
    else:
        print(as_exports(variables))  # noqa: T201


@app.command(name="open")
def open_browser(
    notebooks: Annotated[bool, typer.Option("--notebooks", help="JupyterLab.")] = False,
) -> None:
    """Print a link that signs you in once, and open it where there is a browser."""
    from dataharbour.platform.sign_in import open_link

    open_link(_here()[1], notebooks=notebooks)


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
def doctor(output: Output = Form.TEXT) -> None:
    """Look for what would keep the platform, or a job, from working, and say the remedy."""
    from dataharbour.platform import preflight
    from dataharbour.platform.jupyter import is_chosen
    from dataharbour.postgres.cluster import is_complete

    checkout, home = _here()
    fresh = not is_complete(home.data / "postgres")
    checks = preflight.run(checkout, home, fresh=fresh, notebooks=is_chosen(home))
    checks += preflight.look_further(checkout, home)
    show.checks(checks, output=output)
    if any(
        not check.ok and (check.needed or check.id.startswith(preflight.JOB)) for check in checks
    ):
        raise typer.Exit(Exit.FAILED)


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
    """Run the tests, but those marked long (-m long); further arguments go to pytest."""
    from dataharbour.cli.develop import run_tests
    from dataharbour.platform.extras import ensure_notebooks

    root = _here()[0].root
    ensure_notebooks(root, "test", *context.args)
    raise typer.Exit(run_tests(root, context.args))


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
