-- Users of both kinds; their credentials are in tables of their own.
CREATE TABLE organization (id TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE account (id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE user (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL CHECK (type IN ('personal', 'programmatic')),
    name TEXT NOT NULL,
    email TEXT UNIQUE,
    description TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE password (user_id TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE, hash TEXT NOT NULL, failures INTEGER NOT NULL DEFAULT 0, locked_until INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE session (hash BLOB PRIMARY KEY, user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE, csrf TEXT NOT NULL, expires_at INTEGER NOT NULL) STRICT;
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    last_digits TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;
CREATE INDEX token_user ON token (user_id);
CREATE TABLE policy (id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT, type TEXT NOT NULL, content TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE TABLE user_group (id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE group_member (group_id TEXT NOT NULL REFERENCES user_group (id) ON DELETE CASCADE, user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE, PRIMARY KEY (group_id, user_id)) STRICT;
CREATE INDEX group_member_user ON group_member (user_id);
-- A policy given to a user or to a group; `accounts` is a JSON list of account ids, or ["*"].
CREATE TABLE grant_entry (
    id INTEGER PRIMARY KEY,
    user_id TEXT REFERENCES user (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES user_group (id) ON DELETE CASCADE,
    policy_id TEXT NOT NULL REFERENCES policy (id),
    accounts TEXT NOT NULL,
    CHECK ((user_id IS NULL) <> (group_id IS NULL))
) STRICT;
CREATE INDEX grant_user ON grant_entry (user_id);
CREATE INDEX grant_group ON grant_entry (group_id);
-- Something to protect, so that roles have an effect.
CREATE TABLE elastigroup (id TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE, name TEXT NOT NULL, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    actor_type TEXT NOT NULL CHECK (actor_type IN ('UI', 'programmatic', 'system', 'unknown')),
    actor_id TEXT NOT NULL,
    token_last_digits TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('UI', 'API', 'system')),
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    account_id TEXT,
    status INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_keeps_text BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
