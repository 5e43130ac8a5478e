-- What happened to a run after event `after`, oldest first.
select id, at, kind, old, new, run_id, attempt_id, actor, data
from public.event
where run_id = %(run_id)s and id > %(after)s
order by id
limit %(limit)s
