drop table import_errors;
drop table imports;
drop table webhook_attempts;
drop table webhook_deliveries;
drop table webhook_endpoints;
drop table mails;
