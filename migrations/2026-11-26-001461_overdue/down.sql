alter table workers drop column overdue;
