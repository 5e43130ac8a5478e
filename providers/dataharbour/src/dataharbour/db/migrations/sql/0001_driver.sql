-- What a Spark driver may do: report on its own attempt, with the token it was given.
--
-- SECURITY DEFINER: the caller (role harbour_driver) has no right on any table.
-- Each function acts on one attempt, only with its token, and only while no
-- newer attempt exists (the fence). Times are the database's.

create schema driver;
revoke all on schema driver from public;

-- Locks and returns the caller's attempt; null when the token is wrong or a newer attempt exists.
create function driver.own(attempt_id uuid, token text) returns public.attempt
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt;
begin
    -- The run first, as everybody who takes both locks does.
    perform 1 from public.run r where r.id = (select a.run_id from public.attempt a where a.id = attempt_id)
        for update;
    select a.* into mine
        from public.attempt a join public.run r on r.id = a.run_id
        where a.id = attempt_id and a.fence = r.fence
          and a.token_sha256 = sha256(convert_to(token, 'UTF8'))
        for update of a;
    if not found then
        return null;
    end if;
    perform set_config('dataharbour.actor', 'driver', true);
    return mine;
end $$;

-- The run of a driver that is over, if it shall be cancelled: nobody else may be there to close it.
create function driver.close_cancelled(run_id uuid, message text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update public.run r
        set detail = 'CANCELLED', changed_at = clock_timestamp(), ended_at = clock_timestamp(),
            failure_class = 'CANCELLED', failure_message = close_cancelled.message
        where r.id = close_cancelled.run_id and r.detail in ('CANCELLING', 'LOST') and r.desired = 'CANCELLED';
$$;

-- The right to run user code, given once per attempt. A driver that comes to a cancelled run
-- ends its attempt with that, so that nobody waits for it.
create function driver.claim(attempt_id uuid, token text, holder text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt := driver.own(attempt_id, token);
begin
    if mine.state = 'RUNNING' and mine.holder = claim.holder then
        -- The same process asks again: our answer did not reach it. It counts from this call.
        update public.attempt set lease_until = clock_timestamp() + interval '30 seconds' where id = mine.id;
        return true;
    end if;
    if mine.id is null or mine.state not in ('SUBMITTING', 'SUBMITTED') then
        return false;
    end if;
    update public.run
        set detail = 'RUNNING', changed_at = clock_timestamp(), started_at = coalesce(started_at, clock_timestamp())
        where id = mine.run_id and desired <> 'CANCELLED'
          and detail in ('SUBMITTING', 'SUBMITTED', 'AMBIGUOUS', 'LOST');
    if not found then
        update public.attempt a
            set state = 'CANCELLED', ended_at = clock_timestamp(), failure_class = 'CANCELLED',
                failure_message = 'Cancelled before it started.'
            from public.run r
            where a.id = mine.id and r.id = a.run_id and r.desired = 'CANCELLED';
        perform driver.close_cancelled(mine.run_id, 'Cancelled before it started.');
        return false;
    end if;
    update public.attempt
        set state = 'RUNNING', holder = left(claim.holder, 200), claimed_at = clock_timestamp(),
            lease_until = clock_timestamp() + interval '30 seconds'
        where id = mine.id;
    return true;
end $$;

-- Another 30 seconds; says what the run's owner wants (`CANCELLED 30`: within 30 seconds), or null: stop,
-- this attempt is over.
create function driver.renew(attempt_id uuid, token text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt := driver.own(attempt_id, token);
    wanted text;
begin
    if mine.id is null or mine.state <> 'RUNNING' then
        return null;
    end if;
    update public.attempt set lease_until = clock_timestamp() + interval '30 seconds' where id = mine.id;
    update public.run set detail = 'RUNNING', changed_at = clock_timestamp()
        where id = mine.run_id and detail = 'LOST';
    select concat_ws(' ', desired, case when desired = 'CANCELLED' then grace_s end)
        into wanted from public.run where id = mine.run_id;
    return wanted;
end $$;

-- Keeps lines [[epoch seconds, stream, text], …] from number `first_line` on; returns the next number,
-- or null. Lines that are there already are skipped, so a repeated call is harmless.
create function driver.log(attempt_id uuid, token text, first_line bigint, lines jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt := driver.own(attempt_id, token);
    fresh jsonb;
    fresh_count integer;
begin
    if mine.id is null or mine.state <> 'RUNNING' then
        return null;
    end if;
    if first_line < 1 or first_line > mine.log_lines + 1 then
        raise exception 'line % leaves a gap after %', first_line, mine.log_lines using errcode = 'data_exception';
    end if;
    if mine.log_bytes > 64 * 1024 * 1024 or octet_length(lines::text) > 8 * 1024 * 1024 then
        raise exception 'the log of attempt % is too long', mine.id using errcode = 'program_limit_exceeded';
    end if;
    select jsonb_agg(l.line order by l.position), count(*) into fresh, fresh_count
        from jsonb_array_elements(lines) with ordinality as l (line, position)
        where first_line + l.position - 1 > mine.log_lines;
    if fresh_count > 0 then
        insert into public.log_chunk (attempt_id, first_line, lines, line_count, written_at)
            values (mine.id, mine.log_lines + 1, fresh, fresh_count, clock_timestamp());
        update public.attempt
            set log_lines = log_lines + fresh_count, log_bytes = log_bytes + octet_length(fresh::text)
            where id = mine.id;
        perform pg_notify('dataharbour_log', mine.run_id::text);
    end if;
    return mine.log_lines + fresh_count + 1;
end $$;

create function driver.progress(attempt_id uuid, token text, progress jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt := driver.own(attempt_id, token);
begin
    if mine.id is null or mine.state <> 'RUNNING' or octet_length(progress::text) > 4096 then
        return false;
    end if;
    update public.attempt a set progress = progress.progress where a.id = mine.id;
    update public.run r set progress = progress.progress where r.id = mine.run_id;
    return true;
end $$;

-- The last word of a driver. It ends the run as well when that shall be cancelled, unless the driver
-- was faster and succeeded: every other end is the task's to judge.
create function driver.finish(
    attempt_id uuid, token text, state text, exit_code integer, failure_class text, failure_message text
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    mine public.attempt := driver.own(attempt_id, token);
begin
    if mine.id is null or mine.state <> 'RUNNING' then
        return false;
    end if;
    if finish.state not in ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT') then
        raise exception 'a driver cannot end as %', finish.state using errcode = 'data_exception';
    end if;
    update public.attempt a
        set state = finish.state, exit_code = finish.exit_code, failure_class = finish.failure_class,
            failure_message = left(finish.failure_message, 16384), ended_at = clock_timestamp(), lease_until = null
        where a.id = mine.id;
    if finish.state <> 'SUCCEEDED' then
        perform driver.close_cancelled(mine.run_id, 'Cancelled while it ran.');
    end if;
    update public.run r set detail = 'RUNNING', changed_at = clock_timestamp()
        where r.id = mine.run_id and r.detail = 'LOST';
    return true;
end $$;

revoke all on all functions in schema driver from public;
