-- Key and value pairs, as a JSON list: conditions of policies are about them.
ALTER TABLE elastigroup ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
