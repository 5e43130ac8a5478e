-- What is stored of every name; a deleted job has no document.
select name, document, version, changed_by, changed_at
from public.job_definition
order by name
