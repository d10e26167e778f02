-- Times are milliseconds since 1970, UTC.

CREATE TABLE organization (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The row order is the age: the first account is the organization's default one.
CREATE TABLE account (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE policy (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    type TEXT NOT NULL
        CHECK (type IN ('ACCOUNT', 'ORGANIZATION', 'SPOT_MANAGED_ACCOUNT', 'SPOT_MANAGED_ORGANIZATION')),
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE user (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL CHECK (type IN ('personal', 'programmatic')),
    name TEXT NOT NULL,
    description TEXT,
    email TEXT UNIQUE COLLATE NOCASE,
    created_at INTEGER NOT NULL,
    CHECK ((type = 'personal') = (email IS NOT NULL)),
    CHECK (id GLOB CASE type WHEN 'personal' THEN 'u-*' ELSE 'pu-*' END)
) STRICT;

-- What opens the console. A programmatic user cannot have a row here, whatever the code above does.
CREATE TABLE console_password (
    user_id TEXT PRIMARY KEY NOT NULL REFERENCES user (id) ON DELETE CASCADE CHECK (user_id GLOB 'u-*'),
    hash TEXT NOT NULL
) STRICT;

CREATE TABLE console_session (
    hash BLOB PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE CHECK (user_id GLOB 'u-*'),
    csrf TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Keyed by a hash of what was typed, so that an unknown e-mail address behaves like a known one.
CREATE TABLE console_failure (
    hash BLOB PRIMARY KEY NOT NULL,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT;

-- What opens the API.
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    last_digits TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;
CREATE INDEX token_user ON token (user_id);

-- Opens nothing; lets the audit log say whose revoked token was tried.
CREATE TABLE revoked_token (
    hash BLOB PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    user_type TEXT NOT NULL,
    last_digits TEXT NOT NULL
) STRICT;

CREATE TABLE user_group (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE group_member (
    group_id TEXT NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_member_user ON group_member (user_id);

-- A policy given to a user or to a group.
CREATE TABLE policy_grant (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    policy_id TEXT NOT NULL REFERENCES policy (id),
    user_id TEXT REFERENCES user (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES user_group (id) ON DELETE CASCADE,
    CHECK ((user_id IS NULL) <> (group_id IS NULL)),
    UNIQUE (policy_id, user_id, group_id)
) STRICT;
CREATE INDEX policy_grant_user ON policy_grant (user_id);
CREATE INDEX policy_grant_group ON policy_grant (group_id);

-- No foreign key on the account: '*' is one of the values. Deleting an account removes its rows.
CREATE TABLE grant_account (
    grant_id INTEGER NOT NULL REFERENCES policy_grant (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL,
    PRIMARY KEY (grant_id, account_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_account_account ON grant_account (account_id);

CREATE TABLE elastigroup (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX elastigroup_account ON elastigroup (account_id);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor_id TEXT,
    actor_name TEXT NOT NULL,
    actor_type TEXT NOT NULL CHECK (actor_type IN ('ui', 'programmatic', 'system', 'anonymous')),
    token_last_digits TEXT,
    source TEXT NOT NULL CHECK (source IN ('UI', 'API', 'SYSTEM')),
    agent TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT,
    account_id TEXT,
    result TEXT NOT NULL,
    status INTEGER NOT NULL,
    context TEXT NOT NULL,
    request_id TEXT NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
