-- The backend's name for an attempt; the driver may have claimed it, or ended, already.
update public.attempt
set external_id = %(external_id)s, ui_url = %(ui_url)s, submitted_at = %(now)s,
    state = case when state = 'SUBMITTING' then 'SUBMITTED' else state end
where id = %(attempt_id)s
