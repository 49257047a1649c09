drop table gateway_events;
drop table effects;
drop table payments;
