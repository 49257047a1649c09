-- What retention looks for. Rows lie in the order of their making, so a few bytes per megabyte find the old ones, and writing one
-- costs next to nothing.
create index mails_by_age on mails using brin (created_at) with (autosummarize = on);
create index webhook_deliveries_by_age on webhook_deliveries using brin (created_at) with (autosummarize = on);
