-- The attempt of a run whose driver lives.
select number, holder, lease_until
from public.attempt
where run_id = %(run_id)s and state = 'RUNNING' and lease_until > clock_timestamp()
