-- The run that an idempotency key, or the DAG run derived from it, already has.
select *
from public.run
where is_current
  and ((principal = %(principal)s and dag_id = %(dag_id)s and idempotency_key = %(idempotency_key)s)
    or (dag_id = %(dag_id)s and dag_run_id = %(dag_run_id)s and task_id = %(task_id)s and map_index = -1))
order by idempotency_key is null
limit 1
for update
