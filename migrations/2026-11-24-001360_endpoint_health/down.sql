alter table webhook_endpoints
    drop constraint webhook_endpoints_disabled_whole, drop constraint webhook_endpoints_failing_whole,
    drop column disabled_reason, drop column disabled_at, drop column failed_at, drop column failing_since;
