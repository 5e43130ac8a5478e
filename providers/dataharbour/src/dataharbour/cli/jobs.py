"""The verbs of ``harbour job``: submit, list, apply, delete, … Thin: arguments, calls, lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataharbour.cli import show
from dataharbour.cli.exits import Exit
from dataharbour.cli.show import Form, Output
from dataharbour.errors import JobFailed, NotFound, Unavailable

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
    one_off = _given(
        args=args,
        conf=_pairs(conf, "--conf"),
        backend=backend,
        profile=profile,
        timeout_s=timeout_s,
    )
    body: dict[str, Any] = {"labels": _pairs(labels, "--label")}
    if job is not None and application is None:
        _refuse(one_off, "belongs to --application; a job declares its own.")
        path, given = f"jobs/{_segment(job)}/runs", _pairs(params, "--param")
        client = load_client()
        body["params"] = _job_params(client, job, given)
    elif application is not None and job is None:
        _refuse(_given(param=params), "belongs to a declared job; use --arg or --conf.")
        path, client = "runs", load_client()
        body |= {"application": application, **one_off}
    else:
        raise typer.BadParameter("name a job, or an --application (one of them).")
    run = client.start(path, body, key=key or uuid4().hex, on_wait=_Patience())
    _started(client, run, follow=follow, as_json=as_json)


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
    rows: list[tuple[str, ...]]
    if jobs:
        items = list(client.items("jobs"))
        rows = [("JOB", "BACKEND", "SCHEDULE", "DESCRIPTION"), *map(_job_row, items)]
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
        rows = [("RUN", "JOB", "STATE", "CREATED", "SECONDS"), *map(_run_row, items)]
    if as_json:
        show.json_document(items)
    elif items:
        show.table(rows)
    else:
        _say("None yet. Start one: harbour job submit JOB")


@app.command(name="show")
def show_(
    thing: Annotated[str, typer.Argument(metavar="RUN|JOB", help="Id of a run, or name of a job.")],
    output: Output = Form.TEXT,
) -> None:
    """Show a run with its attempts, or a declared job."""
    from dataharbour.cli.client import load_client

    as_json = output is Form.JSON
    kind = "runs" if _is_run_id(thing) else "jobs"
    client = load_client()
    found = client.get(f"{kind}/{_segment(thing)}")
    if as_json:
        show.json_document(found)
        return
    if found.get("queue"):
        found = {**found, "queue": _waiting(found["queue"])}
    for name, value in found.items():
        if value not in (None, {}, []) and name not in {"links", "definition"}:
            sys.stdout.write(f"{name:12}  {_text(value)}\n")
    if kind == "runs" and found["attempt"]:
        attempts = client.get(f"runs/{_segment(thing)}/attempts")["items"]
        sys.stdout.write("\n")
        show.table(
            [("ATTEMPT", "STATE", "STARTED", "ENDED", "WHERE"), *map(_attempt_row, attempts)]
        )


@app.command()
def logs(run: RunId, follow: Follow = False, output: Output = Form.TEXT) -> None:
    """Print the log of a run.

    With -o json an array of lines; with --follow as well, one line of JSON each.
    """
    from dataharbour.cli.client import load_client

    as_json = output is Form.JSON
    client = load_client()
    path = f"runs/{_segment(run)}/logs"
    if follow:
        _follow(client, run, write=_write_json if as_json else _write_line)
        return
    lines = client.log_lines(path)
    if as_json:
        show.json_document(list(lines))
        return
    for line in lines:
        _write_line(line)


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
    asked = client.post(f"runs/{_segment(run)}:cancel", {"grace_s": grace_s})
    ended = client.get(f"runs/{_segment(run)}", wait=10) if asked["ended_at"] is None else asked
    if output is Form.JSON:
        show.json_document(ended)
    elif ended["ended_at"] is None:
        _say(f"The run is {ended['detail']}: its driver is being stopped.")
    else:
        _say(f"The run is {ended['state']}.")


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
        f"runs/{_segment(run)}:retry", {}, key=key or uuid4().hex, on_wait=_Patience()
    )
    _started(client, started, follow=follow, as_json=output is Form.JSON)


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
        f"runs/{_segment(run)}:repair", {}, key=key or uuid4().hex, on_wait=_Patience()
    )
    _started(client, started, follow=follow, as_json=output is Form.JSON)


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
    client = load_client()
    before = _known(client, name)
    job = client.put(
        f"jobs/{_segment(name)}", content, kind=kind, etag=before["etag"] if before else None
    )
    if output is Form.JSON:
        show.json_document(job)
        return
    same = before is not None and before["version"] == job["version"]
    did = "is unchanged" if same else "is stored" if before is None else "is changed"
    _say(f"The job {name} {did} (version {job['version']}). Its DAG follows within a minute.")


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="A job that was stored by `apply`.")],
) -> None:
    """Delete a stored job; its runs and its tables stay.

    Refused while runs of it have not ended.
    """
    from dataharbour.cli.client import load_client

    client = load_client()
    path = f"jobs/{_segment(name)}"
    client.delete(path, etag=client.get(path)["etag"])
    _say(f"The job {name} is deleted.")


def _known(client: Client, name: str) -> Any | None:
    """The job, where there is one."""
    try:
        return client.get(f"jobs/{_segment(name)}")
    except NotFound:
        return None


def _started(client: Client, run: Mapping[str, Any], *, follow: bool, as_json: bool) -> None:
    if not follow:
        if as_json:
            show.json_document(run)
        else:
            sys.stdout.write(f"{run['id']}\n")
            _say(f"Started {_what(run)}. Its log: harbour job logs {run['id']} --follow")
        return
    _say(f"Started {_what(run)}, run {run['id']}.")
    _follow(client, run["id"], write=_say_line if as_json else _write_line)
    ended = client.get(f"runs/{run['id']}", wait=60)
    if as_json:
        show.json_document(ended)
    if ended["state"] != "SUCCEEDED":
        failure = ended["failure"] or {"class": "", "message": "no reason was recorded"}
        raise JobFailed(
            f"The run is {ended['state']}: {failure['class']} {_first_line(failure['message'])}",
            f"Its log: harbour job logs {run['id']}",
        )
    _say(f"The run succeeded after {ended['duration_s'] or 0:.1f} s.")


class _Patience:
    """Says why a run cannot be started yet, once for each reason."""

    def __init__(self) -> None:
        self._said: str | None = None

    def __call__(self, why: Unavailable) -> None:
        if why.problem != self._said:
            self._said = why.problem
            _say(f"{_first_line(why.problem)} Trying again for about a minute.")


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0][:500]


def _follow(client: Client, run_id: str, *, write: Callable[[Mapping[str, Any]], None]) -> None:
    """Print the log until the run ends; on Ctrl-C say how to come back."""
    state = None
    try:
        for event in client.events(f"runs/{_segment(run_id)}/logs"):
            if event.name == "lines":
                for line in event.data["items"]:
                    write(line)
                sys.stdout.flush()
            elif event.name == "queue":
                _say(f"-- waiting: {_waiting(event.data)}")
            elif event.name == "state" and event.data != state:
                state = event.data
                fine = "" if state["detail"] == state["state"] else f" ({state['detail'].lower()})"
                _say(f"-- {state['state'].lower()}{fine}")
    except KeyboardInterrupt:
        _say(f"The run goes on. To follow it again: harbour job logs {run_id} --follow")
        raise typer.Exit(Exit.INTERRUPTED) from None


def _job_params(client: Client, job: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The parameters as the job declares their types; asks the API only when there are any."""
    if not given:
        return {}
    declared = client.get(f"jobs/{_segment(job)}").get("params") or {}
    return {name: parse_param(value, declared.get(name, {})) for name, value in given.items()}


def parse_param(text: str, schema: Mapping[str, Any]) -> Any:
    """The value that `text` means for a parameter with this JSON Schema.

    >>> parse_param("3", {"type": "integer"}), parse_param("3", {"type": "string"})
    (3, '3')
    """
    types = schema.get("type", [])
    if types == "string" or (isinstance(types, list) and "string" in types and text != "null"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _refuse(options: Mapping[str, Any], why: str) -> None:
    for name in options:
        option = {"args": "--arg", "timeout_s": "--timeout"}.get(name, f"--{name}")
        raise typer.BadParameter(f"{option} {why}")


def _given(**options: Any) -> dict[str, Any]:
    """The options that somebody gave."""
    return {name: value for name, value in options.items() if value not in (None, {}, [])}


def _pairs(given: Iterable[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for item in given or ():
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option} {item!r} is not NAME=VALUE.")
        pairs[name] = value
    return pairs


def _segment(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _is_run_id(text: str) -> bool:
    from uuid import UUID

    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _what(run: Mapping[str, Any]) -> str:
    return f"job {run['job']}" if run["job"] else str(run["application"])


def _run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = "" if run["duration_s"] is None else f"{run['duration_s']:.1f}"
    what = run["job"] or run["application"]
    return run["id"], what, run["state"], run["created_at"][:19] + "Z", seconds


def _job_row(job: Mapping[str, Any]) -> tuple[str, ...]:
    if job["error"]:
        return job["name"], "BROKEN", "", job["error"]["detail"].split("\n")[0]
    description = (job["description"] or "").strip().split("\n")[0]
    return job["name"], job["backend"] or "", _when(job["schedule"]), description


def _when(schedule: str | Mapping[str, Any] | None) -> str:
    """A schedule in a few words: its cron expression, or the assets it waits for."""
    if schedule is None or isinstance(schedule, str):
        return schedule or ""
    words = {"all": " and ", "any": " or "}[schedule.get("when", "all")]
    assets = words.join(schedule.get("assets", ()))
    return " or ".join(filter(None, (schedule.get("cron"), assets)))


def _attempt_row(attempt: Mapping[str, Any]) -> tuple[str, ...]:
    started, ended = (_moment(attempt[name]) for name in ("claimed_at", "ended_at"))
    return str(attempt["number"]), attempt["state"], started, ended, attempt["holder"] or ""


def _moment(at: str | None) -> str:
    return f"{at[:19]}Z" if at else ""


def _waiting(queue: Mapping[str, Any]) -> str:
    """Why a run waits, and how long."""
    place = f" (number {queue['position']})" if queue["position"] else ""
    return f"{queue['message']}{place}"


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return show.plain(json.dumps(value, ensure_ascii=False))
    return show.plain(str(value))


def _write_line(line: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{line['line']}\n")


def _write_json(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


def _say_line(line: Mapping[str, Any]) -> None:
    sys.stderr.write(f"{line['line']}\n")
    sys.stderr.flush()


def _say(text: str) -> None:
    sys.stderr.write(show.plain(text) + "\n")
    sys.stderr.flush()
