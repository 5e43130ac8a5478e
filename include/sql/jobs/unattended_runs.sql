-- Runs that have not ended, and have not changed their state since a while, oldest first.
select *
from public.run
where detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
  and changed_at < %(before)s
order by id
limit %(limit)s
