-- Everything that happened to a run, oldest first.
select id, at, kind, old, new, run_id, attempt_id, actor, data
from public.event
where run_id = %(run_id)s
order by id
