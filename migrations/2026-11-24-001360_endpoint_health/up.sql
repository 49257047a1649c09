-- Endpoints that answer nothing for days are disabled, and say why and since when.

alter table webhook_endpoints
    add column failing_since   timestamptz,        -- the first failure after the last success; null while all is well
    add column failed_at       timestamptz,        -- the newest failure since, to the minute
    add column disabled_at     timestamptz,        -- by us; an administrator who deactivates one leaves this empty
    add column disabled_reason text,
    add constraint webhook_endpoints_failing_whole check ((failing_since is null) = (failed_at is null)),
    add constraint webhook_endpoints_disabled_whole check
        ((disabled_at is null) = (disabled_reason is null) and (disabled_at is null or not active));
