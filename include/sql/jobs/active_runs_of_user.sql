-- How many runs that a user asked for have not ended: their own, and those that their repairs made.
select count(*) as runs
from (
    select id
    from public.run
    where principal = %(principal)s
      and detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
    union
    select r.id
    from public.repair p join public.run r on r.id = p.run_id
    where p.principal = %(principal)s
      and r.detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
) as open_runs
