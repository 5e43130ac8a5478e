-- The ended runs of some tasks of a DAG run, of which no task has heard: their tasks are being cleared, and shall
-- start new runs instead of hearing of these.
update public.run
set clears = -1
where dag_id = %(dag_id)s and dag_run_id = %(dag_run_id)s and is_current and clears is null
  and detail in ('FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
  and (task_id, map_index) in (select * from unnest(%(tasks)s::text[], %(map_indexes)s::integer[]))
returning id
