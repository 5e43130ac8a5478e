-- The backend's name for an attempt; the driver may have claimed it, or ended, already. One that did
-- said itself where it is, if it could: of two that were submitted it is the one that counts.
update public.attempt
set external_id = case when state = 'SUBMITTING' then %(external_id)s else coalesce(external_id, %(external_id)s) end,
    ui_url = coalesce(%(ui_url)s, ui_url), submitted_at = coalesce(submitted_at, %(now)s),
    state = case when state = 'SUBMITTING' then 'SUBMITTED' else state end
where id = %(attempt_id)s
