-- What is stored under a name; a deleted job has no document.
select name, document, version, changed_by, changed_at
from public.job_definition
where name = %(name)s
