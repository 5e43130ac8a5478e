-- No attempt of the run is waited for any more.
update public.attempt
set state = 'LOST', ended_at = %(now)s, lease_until = null
where run_id = %(run_id)s and state in ('SUBMITTING', 'SUBMITTED', 'RUNNING')
