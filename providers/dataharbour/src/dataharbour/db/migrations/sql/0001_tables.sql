-- Runs of Spark jobs, their attempts, what happened, and what the drivers wrote.

create table public.run (
    id                 uuid primary key default uuidv7(),
    job                text,
    application        text        not null,
    application_sha256 text        not null,
    args               jsonb       not null default '[]',
    conf               jsonb       not null default '{}',
    params             jsonb       not null default '{}',
    labels             jsonb       not null default '{}',
    backend            text        not null,
    outputs            jsonb       not null default '[]',
    expectations       text,
    timeout_s          double precision check (timeout_s > 0),
    grace_s            double precision check (grace_s >= 0), -- what a cancelled driver gets; null: its own
    dag_id             text        not null,
    dag_run_id         text        not null,
    task_id            text        not null,
    map_index          integer     not null default -1,
    principal          text        not null,
    idempotency_key    text,
    fingerprint        text,
    retry_of           uuid,
    is_current         boolean     not null default true,  -- owns its Airflow key; a cleared task starts another run
    clears             integer, -- how often the DAG run had been cleared when its task was told the end; null: not told
    detail             text        not null check (detail in (
        'ACCEPTED', 'QUEUED', 'SUBMITTING', 'SUBMITTED', 'RUNNING', 'FINALIZING', 'SUCCEEDED', 'FAILED',
        'CANCELLED', 'TIMED_OUT', 'SKIPPED', 'CANCELLING', 'RETRY_WAIT', 'LOST', 'AMBIGUOUS')),
    desired            text        not null default 'SUCCEEDED' check (desired in ('SUCCEEDED', 'CANCELLED')),
    version            integer     not null default 1,
    attempt            integer     not null default 0,
    fence              bigint      not null default 0,
    created_at         timestamptz not null,
    changed_at         timestamptz not null,
    started_at         timestamptz,
    ended_at           timestamptz,
    failure_class      text,
    failure_message    text,
    progress           jsonb,
    result             jsonb
);

create unique index run_airflow_key on public.run (dag_id, dag_run_id, task_id, map_index) where is_current;
create unique index run_idempotency_key on public.run (principal, dag_id, idempotency_key)
    where idempotency_key is not null and is_current;
create index run_by_job on public.run (job, id desc);
create index run_by_dag on public.run (dag_id, id desc);
create index run_by_end on public.run (ended_at) where ended_at is not null;
create index run_by_labels on public.run using gin (labels jsonb_path_ops);
create index run_active on public.run (detail, changed_at)
    where detail not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED');

create table public.attempt (
    id              uuid primary key default uuidv7(),
    run_id          uuid        not null references public.run (id) on delete cascade,
    number          integer     not null,
    fence           bigint      not null,
    token_sha256    bytea       not null,
    backend         text        not null,
    state           text        not null check (state in (
        'SUBMITTING', 'SUBMITTED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'LOST')),
    external_id     text,
    holder          text,       -- host:pid of the supervisor that claimed
    created_at      timestamptz not null,
    submitted_at    timestamptz,
    claimed_at      timestamptz,
    lease_until     timestamptz,
    ended_at        timestamptz,
    exit_code       integer,
    failure_class   text,
    failure_message text,
    progress        jsonb,
    log_lines       bigint      not null default 0,
    log_bytes       bigint      not null default 0,
    publication     bigint      not null, -- grows from attempt to attempt: what a newer one published stays
    published       jsonb,      -- the result, once all its tables were published; its staging may be gone then
    unique (run_id, number)
);
create index attempt_by_publication on public.attempt (publication);

create table public.event (
    id         bigint generated always as identity primary key,
    at         timestamptz not null,
    kind       text        not null,
    old        text,
    new        text,
    run_id     uuid,   -- no foreign keys: history outlives what it is about
    attempt_id uuid,
    actor      text        not null,
    data       jsonb       not null default '{}'
);
create index event_by_run on public.event (run_id, id) where run_id is not null;
create index event_by_kind on public.event (kind, id);

create table public.log_chunk (
    attempt_id uuid        not null references public.attempt (id) on delete cascade,
    first_line bigint      not null check (first_line > 0),
    lines      jsonb       not null,  -- [[epoch seconds, stream, text], …]
    line_count integer     not null check (line_count > 0),
    written_at timestamptz not null,
    primary key (attempt_id, first_line)
);
create index log_chunk_by_age on public.log_chunk (written_at);

-- History is written once.
create function public.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the table % is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete on public.event
    for each row execute function public.refuse_change();
create trigger append_only_all before truncate on public.event
    for each statement execute function public.refuse_change();

-- Terminal is final, whoever writes; each change counts.
create function public.guard_run() returns trigger language plpgsql as $$
begin
    if old.detail in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'SKIPPED')
        and new.detail is distinct from old.detail then
        raise exception 'run % is % and stays so', old.id, old.detail using errcode = 'check_violation';
    end if;
    if (new.detail, new.desired, new.attempt) is distinct from (old.detail, old.desired, old.attempt) then
        new.version := old.version + 1;
    end if;
    return new;
end $$;
create trigger guard before update on public.run for each row execute function public.guard_run();

-- Every change of a run is an event, and wakes whoever listens.
create function public.record_run() returns trigger language plpgsql as $$
declare
    who text := coalesce(nullif(current_setting('dataharbour.actor', true), ''), session_user);
begin
    if tg_op = 'DELETE' then
        insert into public.event (at, kind, old, run_id, actor, data)
        values (clock_timestamp(), 'run.discarded', old.detail, old.id, who,
                jsonb_build_object('dag_id', old.dag_id, 'dag_run_id', old.dag_run_id));
    elsif tg_op = 'INSERT' then
        insert into public.event (at, kind, new, run_id, actor, data)
        values (new.changed_at, 'run.changed', new.detail, new.id, who,
                jsonb_build_object('version', new.version, 'principal', new.principal));
    elsif new.version <> old.version then
        insert into public.event (at, kind, old, new, run_id, actor, data)
        values (new.changed_at, 'run.changed', old.detail, new.detail, new.id, who,
                jsonb_strip_nulls(jsonb_build_object(
                    'version', new.version, 'attempt', new.attempt, 'desired', new.desired,
                    'failure_class', new.failure_class,
                    'failure', split_part(new.failure_message, E'\n', 1))));
    end if;
    perform pg_notify('dataharbour_run', coalesce(new.id, old.id)::text);
    return null;
end $$;
create trigger record after insert or update or delete on public.run
    for each row execute function public.record_run();

create function public.record_attempt() returns trigger language plpgsql as $$
begin
    insert into public.event (at, kind, old, new, run_id, attempt_id, actor, data)
    values (clock_timestamp(), 'attempt.changed', case when tg_op = 'UPDATE' then old.state end, new.state,
            new.run_id, new.id,
            coalesce(nullif(current_setting('dataharbour.actor', true), ''), session_user),
            jsonb_strip_nulls(jsonb_build_object(
                'number', new.number, 'fence', new.fence, 'holder', new.holder, 'exit_code', new.exit_code,
                'failure_class', new.failure_class)));
    perform pg_notify('dataharbour_run', new.run_id::text);
    return null;
end $$;
create trigger record_start after insert on public.attempt
    for each row execute function public.record_attempt();
create trigger record_change after update on public.attempt
    for each row when (old.state is distinct from new.state) execute function public.record_attempt();
