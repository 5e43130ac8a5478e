-- The run that a request with this idempotency key has started.
select *
from public.run
where is_current and principal = %(principal)s and dag_id = %(dag_id)s and idempotency_key = %(idempotency_key)s
