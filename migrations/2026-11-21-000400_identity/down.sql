drop table api_keys;
drop table user_tokens;
drop table refresh_tokens;
drop table sessions;
drop table users;
