-- What a run is for, when a failed one is tried again, and deadlines that are reported once.

alter table public.run
    add column occasion jsonb,       -- dates and partition key of its DAG run; null: it has none
    add column retry_at timestamptz; -- when the next attempt may begin, in RETRY_WAIT

create unique index event_deadline on public.event ((data ->> 'deadline_id')) where kind = 'run.deadline_missed';
