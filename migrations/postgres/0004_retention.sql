-- A finished run that is retired keeps its row, so that its key starts no second one. What it knew is replaced
-- by the little that its workflow keeps; history and mailbox are gone. Unix milliseconds.
ALTER TABLE runs ADD COLUMN retired_at BIGINT;
