drop table import_parts;
alter table imports drop column flow_id;
