-- The run that a repair with this key has made, and which run it repairs.
select r.*, p.repairs
from public.repair p join public.run r on r.id = p.run_id
where p.principal = %(principal)s and p.idempotency_key = %(idempotency_key)s
