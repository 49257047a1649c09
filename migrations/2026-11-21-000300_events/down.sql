drop table inbox;
drop table event_log;
drop table outbox;
