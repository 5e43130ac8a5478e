-- The chunks of a run's log after line `after` of attempt `number`, as many as `limit` lines need.
-- Line numbers have no gaps.
select number, first_line, lines from (
    select *, sum(unread) over (order by number, first_line) - unread as before from (
        select a.number, c.first_line, c.lines,
               case when a.number = %(number)s
                   then least(c.line_count, c.first_line + c.line_count - 1 - %(after)s)
                   else c.line_count end as unread
        from public.attempt a join public.log_chunk c on c.attempt_id = a.id
        where a.run_id = %(run_id)s and a.number >= %(number)s
    ) chunk where unread > 0
) wanted
where before < %(limit)s
order by number, first_line
