-- `user` is a keyword of PostgreSQL, which the same statements are for.
ALTER TABLE user RENAME TO platform_user;
-- By this an address is found, whatever the case it is written in.
CREATE UNIQUE INDEX platform_user_email ON platform_user (lower(email)) WHERE email IS NOT NULL;
-- Most have no group: less to write for each new user.
DROP INDEX policy_grant_group;
CREATE INDEX policy_grant_group ON policy_grant (group_id) WHERE group_id IS NOT NULL;
