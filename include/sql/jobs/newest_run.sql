-- The newest run of a task instance; without a task, of the DAG run.
select *
from public.run
where dag_id = %(dag_id)s and dag_run_id = %(dag_run_id)s
  and (%(task_id)s::text is null or (task_id = %(task_id)s and map_index = %(map_index)s))
order by is_current desc, id desc
limit 1
