-- Attempts, with what their runs want: those that are named, else the newest of the run.
select a.id as attempt_id, a.run_id, a.number, a.state as observed, r.desired, a.lease_until,
       a.state = 'RUNNING' and a.lease_until <= clock_timestamp() as lapsed,
       greatest(extract(epoch from a.lease_until - clock_timestamp()), 0)::float as lease_s,
       a.exit_code, a.failure_class, a.failure_message, a.progress, a.metrics, a.external_id, a.ui_url
from public.attempt a join public.run r on r.id = a.run_id
where a.id = any(coalesce(%(attempt_ids)s::uuid[], array(
    select newest.id from public.attempt newest
    where newest.run_id = %(run_id)s::uuid
    order by newest.number desc limit 1)))
