-- `user` is a keyword of PostgreSQL, which the same statements are for.
ALTER TABLE user RENAME TO platform_user;
-- By this an address is found, whatever the case it is written in.
CREATE UNIQUE INDEX platform_user_email ON platform_user (lower(email));
