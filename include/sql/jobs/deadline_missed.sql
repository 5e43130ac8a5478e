-- The event of a missed deadline, once however often it is reported; the run may not be there yet.
with written as (
    insert into public.event (at, kind, run_id, actor, data)
    select moment, 'run.deadline_missed', (
        select id from public.run
        where dag_id = %(dag_id)s and dag_run_id = %(dag_run_id)s
        order by is_current desc, id desc
        limit 1), 'airflow', %(data)s::jsonb
    from (select %(now)s::timestamptz as moment) missed
    where moment is not null
    on conflict do nothing
    returning run_id
)
select run_id, pg_notify('dataharbour_run', coalesce(run_id::text, '')) from written
