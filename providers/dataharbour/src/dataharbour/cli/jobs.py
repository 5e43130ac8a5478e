"""The verbs of ``harbour job``: submit, list, apply, delete, … Thin: arguments, calls, lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataharbour.cli import arguments, following, rows, show
from dataharbour.cli.arguments import segment
from dataharbour.cli.following import Patience
from dataharbour.cli.show import Form, Output
from dataharbour.errors import JobInvalid, NotFound

if TYPE_CHECKING:
    from dataharbour.cli.client import Client

app = typer.Typer(name="job", help="Start Spark jobs and look at their runs.", no_args_is_help=True)

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Print the log as it grows, until the run ends.")
]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same key starts one run only.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run.")]
LabelOptions = Annotated[
    list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE", help="May be repeated.")
]


@app.command()
def submit(
    job: Annotated[
        str | None, typer.Argument(help="A declared job (harbour job list --jobs).")
    ] = None,
    application: Annotated[
        str | None, typer.Option("--application", "-a", help="Instead of a job: a PySpark file.")
    ] = None,
    args: Annotated[
        list[str] | None, typer.Option("--arg", help="Argument of the application; repeatable.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="Parameter of the job; repeatable."
        ),
    ] = None,
    conf: Annotated[
        list[str] | None,
        typer.Option("--conf", "-c", metavar="NAME=VALUE", help="Spark setting; repeatable."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="connect, local, docker, standalone, yarn or k8s.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="short (starts fastest) or standard (runs fastest).")
    ] = None,
    labels: LabelOptions = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="Limit of the user code.")
    ] = None,
    key: Key = None,
    follow: Follow = False,
    output: Output = Form.TEXT,
) -> None:
    """Start a run of a declared job, or of any application.

    Prints the run's id. With --follow: its log; the exit code is 4 when the run fails.
    """
    from uuid import uuid4

    from dataharbour.cli.client import load_client

    as_json = output is Form.JSON
    one_off = arguments.given(
        args=args,
        conf=arguments.pairs(conf, "--conf"),
        backend=backend,
        profile=profile,
        timeout_s=timeout_s,
    )
    body: dict[str, Any] = {"labels": arguments.pairs(labels, "--label")}
    if job is not None and application is None:
        arguments.refuse(one_off, "belongs to --application; a job declares its own.")
        path, given = f"jobs/{segment(job)}/runs", arguments.pairs(params, "--param")
        client = load_client()
        body["params"] = arguments.job_params(client, job, given)
    elif application is not None and job is None:
        arguments.refuse(
            arguments.given(param=params), "belongs to a declared job; use --arg or --conf."
        )
        path, client = "runs", load_client()
        body |= {"application": application, **one_off}
    else:
        raise typer.BadParameter("name a job, or an --application (one of them).")
    run = client.start(path, body, key=key or uuid4().hex, on_wait=Patience())
    following.started(client, run, follow=follow, as_json=as_json)


@app.command(name="list")
def list_(
    jobs: Annotated[
        bool, typer.Option("--jobs", help="The declared jobs instead of runs.")
    ] = False,
    job: Annotated[str | None, typer.Option(help="Only runs of this job.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only runs in this state, e.g. RUNNING.")
    ] = None,
    labels: LabelOptions = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many runs.")] = 20,
    output: Output = Form.TEXT,
) -> None:
    """List runs, newest first; with --jobs the declared jobs."""
    from dataharbour.cli.client import load_client

    as_json = output is Form.JSON
    client = load_client()
    lines: list[tuple[str, ...]]
    if jobs:
        items = list(client.items("jobs"))
        lines = [("JOB", "BACKEND", "SCHEDULE", "DESCRIPTION"), *map(rows.job_row, items)]
    else:
        items = list(
            client.items(
                "runs",
                limit=limit,
                job=job,
                state=state.upper() if state else None,
                label=labels or None,
            )
        )
        lines = [("RUN", "JOB", "STATE", "CREATED", "SECONDS"), *map(rows.run_row, items)]
    if as_json:
        show.json_document(items)
    elif items:
        show.table(lines)
    else:
        show.say("None yet. Start one: harbour job submit JOB")


@app.command(name="show")
def show_(
    thing: Annotated[str, typer.Argument(metavar="RUN|JOB", help="Id of a run, or name of a job.")],
    output: Output = Form.TEXT,
) -> None:
    """Show a run with its attempts, or a declared job."""
    from dataharbour.cli.client import load_client

    as_json = output is Form.JSON
    kind = "runs" if arguments.is_run_id(thing) else "jobs"
    client = load_client()
    found = client.get(f"{kind}/{segment(thing)}")
    if as_json:
        show.json_document(found)
        return
    if found.get("queue"):
        found = {**found, "queue": rows.waiting(found["queue"])}
    for name, value in found.items():
        if value not in (None, {}, []) and name not in {"links", "definition"}:
            sys.stdout.write(f"{name:12}  {rows.text(value)}\n")
    if kind == "runs" and found["attempt"]:
        attempts = client.get(f"runs/{segment(thing)}/attempts")["items"]
        sys.stdout.write("\n")
        show.table(
            [("ATTEMPT", "STATE", "STARTED", "ENDED", "WHERE"), *map(rows.attempt_row, attempts)]
        )


@app.command()
def logs(run: RunId, follow: Follow = False, output: Output = Form.TEXT) -> None:
    """Print the log of a run.

    With -o json an array of lines; with --follow as well, one line of JSON each.
    """
    from dataharbour.cli.client import load_client

    as_json = output is Form.JSON
    client = load_client()
    path = f"runs/{segment(run)}/logs"
    if follow:
        write = following.write_json if as_json else following.write_line
        following.print_log(client, run, write=write)
        return
    lines = client.log_lines(path)
    if as_json:
        show.json_document(list(lines))
        return
    for line in lines:
        following.write_line(line)


@app.command()
def cancel(
    run: RunId,
    grace_s: Annotated[
        float | None,
        typer.Option("--grace-s", min=0, help="Seconds from SIGTERM to SIGKILL (5)."),
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Cancel a run: its driver is stopped, and nothing is published."""
    from dataharbour.cli.client import load_client

    client = load_client()
    path = f"runs/{segment(run)}"
    asked = client.post(f"{path}:cancel", {"grace_s": grace_s})
    ended = client.get(path, wait=10) if asked["ended_at"] is None else asked
    if output is Form.JSON:
        show.json_document(ended)
    elif ended["ended_at"] is None:
        show.say(f"The run is {ended['detail']}: its driver is being stopped.")
    else:
        show.say(f"The run is {ended['state']}.")


@app.command()
def retry(
    run: RunId,
    key: Key = None,
    follow: Follow = False,
    output: Output = Form.TEXT,
) -> None:
    """Start the same again, after a run has failed or was cancelled.

    Prints the new run's id. With --follow: its log; the exit code is 4 when the run fails.
    """
    from uuid import uuid4

    from dataharbour.cli.client import load_client

    client = load_client()
    started = client.start(
        f"runs/{segment(run)}:retry", {}, key=key or uuid4().hex, on_wait=Patience()
    )
    following.started(client, started, follow=follow, as_json=output is Form.JSON)


@app.command()
def repair(
    run: RunId,
    key: Key = None,
    follow: Follow = False,
    output: Output = Form.TEXT,
) -> None:
    """Run again what has failed in the DAG run of a run, and nothing that has succeeded.

    Prints the id of the run that takes its place. With --follow: its log; the exit code is 4
    when the run fails.
    """
    from uuid import uuid4

    from dataharbour.cli.client import load_client

    client = load_client()
    started = client.start(
        f"runs/{segment(run)}:repair", {}, key=key or uuid4().hex, on_wait=Patience()
    )
    following.started(client, started, follow=follow, as_json=output is Form.JSON)


@app.command()
def apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A job file (YAML or JSON), named for the job.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the job, if not the file's.")] = None,
    output: Output = Form.TEXT,
) -> None:
    """Store a job, or change a stored one, so that it is what FILE says.

    A job that another has changed at the same moment is left as it is: repeat the command.
    """
    from dataharbour.cli.client import load_client

    try:
        content = file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read ({error.strerror}).") from None
    name = name or file.stem
    kind = "application/json" if file.suffix == ".json" else "application/yaml"
    if kind == "application/yaml":
        _refuse_broken(file, content)
    client = load_client()
    before = _known(client, name)
    job = client.put(
        f"jobs/{segment(name)}", content, kind=kind, etag=before["etag"] if before else None
    )
    if output is Form.JSON:
        show.json_document(job)
        return
    same = before is not None and before["version"] == job["version"]
    did = "is unchanged" if same else "is stored" if before is None else "is changed"
    show.say(f"The job {name} {did} (version {job['version']}). Its DAG follows within a minute.")


def _refuse_broken(file: Path, content: bytes) -> None:
    """Say what is wrong with YAML here: the server repeats no word of what it was sent."""
    import yaml

    try:
        for _ in yaml.parse(content):
            pass
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise JobInvalid(f"{file}: {where}not valid YAML: {why}.", "Correct the file.") from error


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="A job that was stored by `apply`.")],
) -> None:
    """Delete a stored job; its runs and its tables stay.

    Refused while runs of it have not ended.
    """
    from dataharbour.cli.client import load_client

    client = load_client()
    path = f"jobs/{segment(name)}"
    client.delete(path, etag=client.get(path)["etag"])
    show.say(f"The job {name} is deleted.")


def _known(client: Client, name: str) -> Any | None:
    """The job, where there is one."""
    try:
        return client.get(f"jobs/{segment(name)}")
    except NotFound:
        return None
