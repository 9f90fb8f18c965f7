-- The state of the sandbox: what it was asked for, charged for, stored and sends.

CREATE TABLE IF NOT EXISTS videos (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL, prompt TEXT NOT NULL, seconds TEXT NOT NULL, size TEXT NOT NULL, status TEXT NOT NULL,
    created_at REAL NOT NULL, completed_at REAL, expires_at REAL,
    error_code TEXT, error_message TEXT, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    video_id TEXT PRIMARY KEY, prompt TEXT NOT NULL, usd REAL NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS speech (
    voice TEXT NOT NULL, words TEXT NOT NULL, usd REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS posts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, idempotency_key TEXT UNIQUE,
    profile TEXT NOT NULL, title TEXT NOT NULL, fields TEXT NOT NULL,
    sha256 TEXT, bytes INTEGER, video_url TEXT,
    results TEXT NOT NULL, created_at REAL NOT NULL, ready_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS endpoints (
    id TEXT PRIMARY KEY, name TEXT, url TEXT NOT NULL, event_types TEXT NOT NULL,
    secret TEXT NOT NULL, old_secret TEXT, old_secret_until REAL, created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, endpoint_id TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    webhook_id TEXT NOT NULL, body TEXT NOT NULL, manner TEXT NOT NULL, created_at REAL NOT NULL,
    due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, last_status INTEGER, state TEXT NOT NULL DEFAULT 'due'
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at) WHERE state = 'due';
CREATE TABLE IF NOT EXISTS faults (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, times INTEGER, params TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

-- What the admin API shows.
CREATE VIEW IF NOT EXISTS listed_charges AS SELECT * FROM charges ORDER BY at;
CREATE VIEW IF NOT EXISTS listed_deliveries AS SELECT * FROM deliveries ORDER BY number;
CREATE VIEW IF NOT EXISTS listed_posts AS
    SELECT request_id, idempotency_key, profile AS user, title, sha256, bytes, video_url, fields AS flags,
        results AS platforms, created_at AS at FROM posts ORDER BY number;
CREATE VIEW IF NOT EXISTS video_states AS SELECT status, count(*) FROM videos GROUP BY status;
CREATE VIEW IF NOT EXISTS totals AS
    SELECT count(*) AS charges, round(coalesce(sum(usd), 0), 2) AS charged_usd,
        count(*) - count(DISTINCT prompt) AS duplicate_prompts, (SELECT count(*) FROM posts) AS posts FROM charges;
-- Videos that still exist, with their vendors.
CREATE VIEW IF NOT EXISTS known_videos AS
    SELECT *, coalesce(json_extract(outcome, '$.vendor'), '') AS vendor FROM videos
    WHERE NOT json_extract(outcome, '$.is_lost');
