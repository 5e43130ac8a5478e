-- How the runs of some DAGs stand: those that are open, and those that have ended since a moment.
select queued, running, succeeded, failed, cancelled,
       extract(epoch from durations[1])::float as duration_p50_s,
       extract(epoch from durations[2])::float as duration_p95_s
from (
    select count(*) filter (where ended_at is null and detail = any(%(queued)s)) as queued,
           count(*) filter (where ended_at is null and detail = any(%(running)s)) as running,
           count(*) filter (where ended_at is not null and detail = 'SUCCEEDED') as succeeded,
           count(*) filter (where ended_at is not null and detail in ('FAILED', 'TIMED_OUT')) as failed,
           count(*) filter (where ended_at is not null and detail in ('CANCELLED', 'SKIPPED')) as cancelled,
           percentile_cont(array[0.5, 0.95]) within group (order by ended_at - started_at)
               filter (where detail = 'SUCCEEDED') as durations
    from ( -- each half by the index run_by_end alone
        select detail, started_at, ended_at from public.run where dag_id = any(%(dag_ids)s) and ended_at is null
        union all
        select detail, started_at, ended_at from public.run where dag_id = any(%(dag_ids)s) and ended_at >= %(since)s
    ) stands
) counted
