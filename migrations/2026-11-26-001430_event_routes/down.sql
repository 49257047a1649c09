drop index event_log_by_place;
drop table event_routes;
