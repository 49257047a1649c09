create table users (
    id                uuid primary key,
    email             text not null,               -- as typed; compared by lower()
    password_hash     text not null,               -- argon2id, PHC string
    first_name        text not null,
    last_name         text not null,
    phone             text,
    role              text not null default 'customer' check (role in ('customer', 'vendor', 'admin')),
    status            text not null default 'active' check (status in ('active', 'deactivated')),
    email_verified_at timestamptz,
    failed_logins     integer not null default 0,
    locked_until      timestamptz,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now()
);
create unique index users_email on users (lower(email));

-- A log-in. Its refresh tokens form a family: using one twice revokes the session.
create table sessions (
    id             uuid primary key,
    user_id        uuid not null references users (id) on delete cascade,
    ip             text,
    user_agent     text,
    created_at     timestamptz not null default now(),
    last_used_at   timestamptz not null default now(),
    expires_at     timestamptz not null,
    revoked_at     timestamptz,
    revoked_reason text check (revoked_reason in ('logout', 'logout_all', 'reuse', 'deactivated')),
    check ((revoked_at is null) = (revoked_reason is null))
);
create index sessions_by_user on sessions (user_id) where revoked_at is null;

create table refresh_tokens (
    hash       bytea primary key,                  -- SHA-256 of the token
    session_id uuid not null references sessions (id) on delete cascade,
    issued_at  timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at    timestamptz
);
create index refresh_tokens_by_session on refresh_tokens (session_id);

create table user_tokens (
    hash       bytea primary key,                  -- SHA-256 of the token mailed
    user_id    uuid not null references users (id) on delete cascade,
    purpose    text not null check (purpose in ('verify_email')),
    expires_at timestamptz not null,
    used_at    timestamptz,
    created_at timestamptz not null default now()
);

create table api_keys (
    id           uuid primary key,
    name         text not null,
    prefix       text not null,                    -- first characters, shown in lists
    hash         bytea not null unique,            -- SHA-256 of the whole key
    scopes       text[] not null,
    created_by   uuid not null references users (id),
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
