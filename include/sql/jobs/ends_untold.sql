-- Airflow has refused to clear the tasks of a repair: the runs that it marked as told are as they were before.
update public.run
set clears = null
where clears = -1 and is_current
  and id in (
    select told::uuid
    from public.event, jsonb_array_elements_text(data -> 'told') as told
    where run_id = %(run_id)s and kind = 'run.repaired' and data ->> 'by' = %(by)s
  )
