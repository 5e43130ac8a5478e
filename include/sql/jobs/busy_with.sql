-- Other runs of the same job that have been started and have not ended, oldest first.
select id
from public.run
where id <> %(run_id)s and attempt > 0
  and coalesce(job, dag_id || '.' || task_id) = %(subject)s
  and detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
order by id
