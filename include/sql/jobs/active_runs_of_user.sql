-- How many runs of a user have not ended.
select count(*) as runs
from public.run
where principal = %(principal)s
  and detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
