-- A new version of a job, or (without a document) the note that it was deleted.
insert into public.job_definition as stored (name, document, version, changed_by, changed_at)
select %(name)s, %(document)s::json, 1, %(changed_by)s, %(now)s
where %(name)s::text is not null
on conflict (name) do update
set document = excluded.document, version = stored.version + 1, changed_by = excluded.changed_by,
    changed_at = excluded.changed_at
returning name, document, version, changed_by, changed_at
