-- A repair: the run it made, and the run it repairs, which nobody can repair a second time.
insert into public.repair (run_id, repairs, principal, idempotency_key, at)
select id, retry_of, %(principal)s, %(idempotency_key)s, created_at
from public.run
where id = %(run_id)s
