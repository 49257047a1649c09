alter table dependencies drop column answered_at;
