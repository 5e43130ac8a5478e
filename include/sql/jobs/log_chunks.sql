-- The chunks of a run's log after line `after` of attempt `number`, as many as `limit` lines need.
-- Of an attempt it reads the chunk that holds the next line, found by the index, and at most `limit` more.
select number, first_line, lines from (
    select a.number, c.first_line, c.lines, c.unread,
           sum(c.unread) over (order by a.number, c.first_line) - c.unread as before
    from public.attempt a cross join lateral (
        select first_line, lines,
               case when a.number = %(number)s
                   then greatest(least(line_count, first_line + line_count - 1 - %(after)s), 0)
                   else line_count end as unread
        from public.log_chunk
        where attempt_id = a.id and first_line >= coalesce((
            select max(first_line) from public.log_chunk
            where attempt_id = a.id and a.number = %(number)s and first_line <= %(after)s + 1), 1)
        order by first_line
        limit %(limit)s + 1
    ) c
    where a.run_id = %(run_id)s and a.number >= %(number)s
) wanted
where unread > 0 and before < %(limit)s
order by number, first_line
