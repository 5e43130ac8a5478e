-- How the runs of some DAGs stand: those that are open, and those that have ended since a moment.
select count(*) filter (where ended_at is null and detail in ('ACCEPTED', 'QUEUED', 'RETRY_WAIT')) as queued,
       count(*) filter (where ended_at is null and detail not in ('ACCEPTED', 'QUEUED', 'RETRY_WAIT')) as running,
       count(*) filter (where ended_at >= %(since)s and detail = 'SUCCEEDED') as succeeded,
       count(*) filter (where ended_at >= %(since)s and detail in ('FAILED', 'TIMED_OUT')) as failed,
       count(*) filter (where ended_at >= %(since)s and detail in ('CANCELLED', 'SKIPPED')) as cancelled,
       percentile_cont(0.5) within group (order by extract(epoch from ended_at - started_at))
           filter (where ended_at >= %(since)s and detail = 'SUCCEEDED')::float as duration_p50_s,
       percentile_cont(0.95) within group (order by extract(epoch from ended_at - started_at))
           filter (where ended_at >= %(since)s and detail = 'SUCCEEDED')::float as duration_p95_s
from public.run
where dag_id = any(%(dag_ids)s) and (ended_at is null or ended_at >= %(since)s)
