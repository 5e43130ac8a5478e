-- The next attempt of a run that was moved on to it; all earlier ones are fenced off.
-- Its publication number is the time in microseconds, so that a database that was restored does not
-- give numbers a second time, and above all others, so that it grows when the clock goes back.
with fenced as (
    update public.run set fence = fence + 1, progress = null, metrics = null
    where id = %(run_id)s
    returning id, attempt, fence
)
insert into public.attempt (run_id, number, fence, token_sha256, backend, state, created_at, publication)
select id, attempt, fence, %(token_sha256)s, %(backend)s, 'SUBMITTING', %(now)s, greatest(
    (select max(publication) + 1 from public.attempt),
    (extract(epoch from %(now)s::timestamptz) * 1000000)::bigint)
from fenced
returning id, number, fence
