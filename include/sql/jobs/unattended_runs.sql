-- Runs that have not ended, and have not changed their state since a while, oldest first, after a given one.
select *
from public.run
where detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
  and changed_at < %(before)s
  and (%(after)s::uuid is null or id > %(after)s)
order by id
limit %(limit)s
