"""Fill a database `dataharbour` with runs of the past, as a busy year would have left them.

The rows are made so that filters meet their worst case: what is asked for is rare, lies at the far
end of the list, or does not exist although each filter alone matches many.
"""

from __future__ import annotations

import psycopg

TOTAL = 100_000

# One run every five minutes, newest last. Every twentieth is in a DAG that nobody may see.
_RUNS = """
insert into public.run (
    id, job, application, application_sha256, args, conf, params, labels, backend, outputs, dag_id,
    dag_run_id, task_id, principal, detail, desired, version, attempt, created_at, changed_at,
    started_at, ended_at, failure_class, failure_message, progress, result)
select uuidv7(at - clock_timestamp()), job, 'flights_delays.py', repeat('ab', 32),
       '["--raw", "{lake}/raw/nycflights13", "--output", "{output}"]',
       '{"spark.sql.shuffle.partitions": "8"}', '{"days": 7}',
       jsonb_build_object('team', 'team-' || n %% 10, 'ticket', 'T-' || n,
                          'env', (array['prod', 'test', 'dev'])[n %% 3 + 1]) ||
           case when n <= 200 then '{"age": "oldest"}'::jsonb else '{}' end,
       'connect', '[{"table": "gold/delays", "partitioned_by": []}]',
       case when n %% 20 = 0 then 'job__of_others'
            else dags.ids[n %% array_length(dags.ids, 1) + 1] end,
       'seeded__' || n, 'run',
       case when n <= 300 then 'user-gone' else 'user-' || n %% 50 end,
       detail, 'SUCCEEDED', 5, 1, at, at + interval '40 seconds',
       case when detail <> 'QUEUED' then at + interval '2 seconds' end,
       case when detail not in ('QUEUED', 'RUNNING')
            then at + make_interval(secs => 10 + n %% 60) end,
       case when detail in ('FAILED', 'TIMED_OUT') then 'USER_ERROR' end,
       case when detail in ('FAILED', 'TIMED_OUT') then 'ValueError: ' || repeat('x', 200) end,
       '{"stages_done": 4, "stages": 4, "tasks_done": 40, "tasks": 40}',
       '{"tables": {"gold/delays": {"rows": 1234, "bytes": 56789}}}'
from (
    select n, now() - make_interval(mins => 5 * (%(total)s - n)) as at,
           case when n <= 500 then 'retired' when n %% 2 = 0 then 'flights_delays'
                else 'job-' || n %% 25 end as job,
           case when n > %(total)s - 5 then 'QUEUED' when n > %(total)s - 10 then 'RUNNING'
                when n %% 16 = 0 then 'FAILED' when n %% 97 = 0 then 'TIMED_OUT'
                when n %% 31 = 0 then 'CANCELLED' else 'SUCCEEDED' end as detail
    from generate_series(1, %(total)s) n
) made, (select %(dag_ids)s::text[] as ids) dags
"""


def insert_runs(conninfo: str, *, dag_ids: list[str], total: int = TOTAL) -> None:
    """Insert `total` runs, without the events that they would have had.

    Args:
        conninfo: libpq string of the database, as its owner.
        dag_ids: DAGs that the reader may see; most runs are spread over them.
        total: how many.
    """
    with psycopg.connect(conninfo) as connection:
        connection.execute("alter table public.run disable trigger record")
        connection.execute(_RUNS, {"total": total, "dag_ids": dag_ids})
        connection.execute("alter table public.run enable trigger record")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("vacuum analyze public.run")  # as autovacuum does within a minute
