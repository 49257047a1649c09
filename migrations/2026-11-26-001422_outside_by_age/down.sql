drop index webhook_deliveries_by_age;
drop index mails_by_age;
