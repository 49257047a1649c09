drop function event_envelope(uuid, text, smallint, text, uuid, timestamptz, uuid, uuid, text, jsonb);
drop function event_job_id(text, bigint, uuid);
drop index event_log_by_published;
alter table event_log drop column pipelines;
drop table event_shards;
