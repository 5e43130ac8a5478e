-- What the driver of an attempt used: {"peak_memory_bytes": …, "cpu_s": …}. A run shows its newest attempt's.

alter table public.attempt add column metrics jsonb;
alter table public.run add column metrics jsonb;

create function driver.metrics(attempt_id uuid, token text, metrics jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt := driver.own(attempt_id, token);
begin
    if mine.id is null or mine.state <> 'RUNNING' or octet_length(metrics::text) > 4096 then
        return false;
    end if;
    update public.attempt a set metrics = metrics.metrics where a.id = mine.id;
    update public.run r set metrics = metrics.metrics where r.id = mine.run_id;
    return true;
end $$;

revoke all on function driver.metrics from public;
