-- The tables of ../sqlite, as of its 0004: the same names, the same meaning. Ids sort as bytes, as SQLite sorts them.
-- Times are milliseconds since 1970, UTC.

-- Whoever writes locks this table first, see `Store::write`.
CREATE TABLE organization (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE account (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE policy (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    type TEXT NOT NULL
        CHECK (type IN ('ACCOUNT', 'ORGANIZATION', 'SPOT_MANAGED_ACCOUNT', 'SPOT_MANAGED_ORGANIZATION')),
    content TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE platform_user (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    type TEXT NOT NULL CHECK (type IN ('personal', 'programmatic')),
    name TEXT NOT NULL,
    description TEXT,
    email TEXT,
    created_at BIGINT NOT NULL,
    CHECK ((type = 'personal') = (email IS NOT NULL)),
    CHECK (id LIKE CASE type WHEN 'personal' THEN 'u-%' ELSE 'pu-%' END)
);
CREATE UNIQUE INDEX platform_user_email ON platform_user (lower(email)) WHERE email IS NOT NULL;

-- What opens the console. A programmatic user cannot have a row here, whatever the code above does.
CREATE TABLE console_password (
    user_id TEXT COLLATE "C" PRIMARY KEY REFERENCES platform_user (id) ON DELETE CASCADE CHECK (user_id LIKE 'u-%'),
    hash TEXT NOT NULL
);

CREATE TABLE console_session (
    hash BYTEA PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES platform_user (id) ON DELETE CASCADE CHECK (user_id LIKE 'u-%'),
    csrf TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX console_session_user ON console_session (user_id);

-- Keyed by a hash of what was typed, so that an unknown e-mail address behaves like a known one.
CREATE TABLE console_failure (
    hash BYTEA PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);

-- Forms that may be sent once, and were: a reload of the page with a new token must not make another user.
CREATE TABLE console_form (
    hash BYTEA PRIMARY KEY,
    at BIGINT NOT NULL
);

-- What opens the API.
CREATE TABLE token (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES platform_user (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE CHECK (length(hash) = 32),
    last_digits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX token_user ON token (user_id);

-- Opens nothing; lets the audit log say whose revoked token was tried.
CREATE TABLE revoked_token (
    hash BYTEA PRIMARY KEY,
    user_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    user_type TEXT NOT NULL,
    last_digits TEXT NOT NULL
);

CREATE TABLE user_group (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE group_member (
    group_id TEXT COLLATE "C" NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES platform_user (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_member_user ON group_member (user_id);

-- A policy given to a user or to a group.
CREATE TABLE policy_grant (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy_id TEXT COLLATE "C" NOT NULL REFERENCES policy (id),
    user_id TEXT COLLATE "C" REFERENCES platform_user (id) ON DELETE CASCADE,
    group_id TEXT COLLATE "C" REFERENCES user_group (id) ON DELETE CASCADE,
    CHECK ((user_id IS NULL) <> (group_id IS NULL)),
    UNIQUE (policy_id, user_id, group_id)
);
CREATE INDEX policy_grant_user ON policy_grant (user_id);
CREATE INDEX policy_grant_group ON policy_grant (group_id) WHERE group_id IS NOT NULL;

-- No foreign key on the account: '*' is one of the values. Deleting an account removes its rows.
CREATE TABLE grant_account (
    grant_id BIGINT NOT NULL REFERENCES policy_grant (id) ON DELETE CASCADE,
    account_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (grant_id, account_id)
);
CREATE INDEX grant_account_account ON grant_account (account_id);

CREATE TABLE elastigroup (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    account_id TEXT COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX elastigroup_account ON elastigroup (account_id);

CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
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
    status BIGINT NOT NULL,
    context TEXT NOT NULL,
    request_id TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END;
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
