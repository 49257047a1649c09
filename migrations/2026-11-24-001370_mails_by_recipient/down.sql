drop index mails_by_recipient;
