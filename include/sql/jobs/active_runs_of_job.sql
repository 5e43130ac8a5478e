-- How many runs of a job have not ended, and the newest of them.
select count(*) as runs, (max(id::text))::uuid as newest
from public.run
where job = %(name)s
  and detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
