-- Ended runs of some DAGs, day by day (UTC), also the days without any.
select series.day::date as day,
       coalesce(ended.succeeded, 0) as succeeded,
       coalesce(ended.failed, 0) as failed,
       coalesce(ended.cancelled, 0) as cancelled,
       ended.duration_p50_s
from generate_series(%(first)s::date, %(last)s::date, interval '1 day') as series (day)
left join (
    select (ended_at at time zone 'UTC')::date as day,
           count(*) filter (where detail = 'SUCCEEDED') as succeeded,
           count(*) filter (where detail in ('FAILED', 'TIMED_OUT')) as failed,
           count(*) filter (where detail in ('CANCELLED', 'SKIPPED')) as cancelled,
           extract(epoch from percentile_cont(0.5) within group (order by ended_at - started_at)
           filter (where detail = 'SUCCEEDED'))::float as duration_p50_s
    from public.run
    where dag_id = any(%(dag_ids)s)
      and ended_at >= %(first)s::date::timestamp at time zone 'UTC'
      and ended_at < (%(last)s::date + 1)::timestamp at time zone 'UTC'
    group by 1
) ended on ended.day = series.day::date
order by series.day
