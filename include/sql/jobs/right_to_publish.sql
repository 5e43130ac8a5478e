-- Whether an attempt is the newest of its run, how that run is, and what the attempt has published.
select a.fence = r.fence as newest, r.detail, a.publication, a.published
from public.attempt a join public.run r on r.id = a.run_id
where a.id = %(attempt_id)s
