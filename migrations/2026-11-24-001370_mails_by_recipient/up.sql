-- Who is erased is looked for by address.
create index mails_by_recipient on mails (lower(recipient));
