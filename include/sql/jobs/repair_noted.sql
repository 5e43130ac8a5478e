-- What a repair means for the run that it repairs, in its history.
insert into public.event (at, kind, run_id, actor, data)
select %(now)s, %(kind)s, id, coalesce(current_setting('dataharbour.actor', true), session_user),
       jsonb_build_object('by', %(by)s::text) || %(more)s
from public.run
where id = %(run_id)s
