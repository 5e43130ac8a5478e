-- `claim` for a driver whose token others may have seen on its way: in the environment of a JVM, of a
-- container. The ticket it came with is good for this one call; from then on only `token`, which the
-- driver made itself, counts. `external_id`: where the driver runs, as its backend calls it, if the
-- driver can tell; whoever submitted it may not have heard.
create function driver.claim_by_ticket(
    attempt_id uuid, ticket text, holder text, token text, external_id text
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- Asked again, because our answer did not arrive: the token counts already.
    is_changed boolean := (driver.own(attempt_id, claim_by_ticket.token)).id is not null;
begin
    if length(claim_by_ticket.token) < 32 then
        raise exception 'the token is too short' using errcode = 'data_exception';
    end if;
    if not driver.claim(attempt_id, case when is_changed then claim_by_ticket.token else ticket end, holder) then
        return false;
    end if;
    update public.attempt a
        set token_sha256 = sha256(convert_to(claim_by_ticket.token, 'UTF8')),
            external_id = coalesce(left(claim_by_ticket.external_id, 200), a.external_id)
        where a.id = claim_by_ticket.attempt_id;
    return true;
end $$;

revoke all on function driver.claim_by_ticket from public;
