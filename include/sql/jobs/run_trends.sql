-- Ended runs of some DAGs, day by day (UTC), also the days without any.
select day::date as day,
       count(r.id) filter (where r.detail = 'SUCCEEDED') as succeeded,
       count(r.id) filter (where r.detail in ('FAILED', 'TIMED_OUT')) as failed,
       count(r.id) filter (where r.detail in ('CANCELLED', 'SKIPPED')) as cancelled,
       percentile_cont(0.5) within group (order by extract(epoch from r.ended_at - r.started_at))
           filter (where r.detail = 'SUCCEEDED')::float as duration_p50_s
from generate_series(%(first)s::date, %(last)s::date, interval '1 day') as day
left join public.run r
    on r.ended_at >= day at time zone 'UTC' and r.ended_at < (day + interval '1 day') at time zone 'UTC'
    and r.dag_id = any(%(dag_ids)s)
group by day
order by day
