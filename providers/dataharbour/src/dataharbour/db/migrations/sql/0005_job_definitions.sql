-- Jobs that were stored over REST. A deleted one keeps its row, without a document: its version goes on
-- from there, and a mirror file that is left of it is known as such.
create table public.job_definition (
    name       text        primary key check (name ~ '^[a-z][a-z0-9_]{0,99}$'),
    document   json,       -- not jsonb: the order of the params is that of the form
    version    bigint      not null,
    changed_by text        not null,
    changed_at timestamptz not null
);

create function public.record_job_definition() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.version <= old.version then
        raise exception 'job % is at version % already', old.name, old.version using errcode = 'check_violation';
    end if;
    insert into public.event (at, kind, old, new, actor, data)
    values (new.changed_at, case when new.document is null then 'job.deleted' else 'job.changed' end,
            case when tg_op = 'UPDATE' and old.document is not null then old.version::text end,
            case when new.document is not null then new.version::text end,
            coalesce(nullif(current_setting('dataharbour.actor', true), ''), session_user),
            jsonb_strip_nulls(jsonb_build_object(
                'job', new.name, 'version', new.version,
                'sha256', encode(sha256(convert_to(new.document::text, 'UTF8')), 'hex'))));
    return null;
end $$;
create trigger record after insert or update on public.job_definition
    for each row execute function public.record_job_definition();
create trigger keep before delete on public.job_definition
    for each row execute function public.refuse_change();
create trigger keep_all before truncate on public.job_definition
    for each statement execute function public.refuse_change();

create index run_open_by_user on public.run (principal)
    where detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED');
