-- The newest attempt of a run, ended if its driver has not claimed it yet: now it never will.
update public.attempt
set state = 'CANCELLED', ended_at = %(now)s, failure_class = 'CANCELLED',
    failure_message = 'Cancelled before it started.'
where id = (select id from public.attempt where run_id = %(run_id)s order by number desc limit 1)
  and state in ('SUBMITTING', 'SUBMITTED')
returning id
