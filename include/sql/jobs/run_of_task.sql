-- The run that a task instance has at the moment.
select *
from public.run
where is_current
  and dag_id = %(dag_id)s and dag_run_id = %(dag_run_id)s
  and task_id = %(task_id)s and map_index = %(map_index)s
for update
