-- Drivers of the attempts so far may report and publish no more.
update public.run set fence = fence + 1 where id = %(run_id)s
