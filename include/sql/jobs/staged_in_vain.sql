-- Of these attempts, those whose runs declared outputs and ended before a moment, and whose drivers hold no lease.
select a.id as attempt_id
from public.attempt a join public.run r on r.id = a.run_id
where a.id = any(%(attempt_ids)s::uuid[])
  and r.ended_at < %(before)s
  and jsonb_array_length(r.outputs) > 0
  and (a.lease_until is null or a.lease_until < clock_timestamp())
