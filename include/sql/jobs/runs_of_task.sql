-- All runs that a task instance has had, newest first.
select *
from public.run
where dag_id = %(dag_id)s and dag_run_id = %(dag_run_id)s and task_id = %(task_id)s and map_index = %(map_index)s
order by id desc
