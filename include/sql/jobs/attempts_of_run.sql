-- The attempts of a run, oldest first; their tokens are nobody's affair.
select id as attempt_id, number, backend, state as observed, external_id, holder, created_at, submitted_at,
       claimed_at, lease_until, ended_at, exit_code, failure_class, failure_message, progress, metrics, log_lines
from public.attempt
where run_id = %(run_id)s
order by number
