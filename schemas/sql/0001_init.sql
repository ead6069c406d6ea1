-- The first schema, in SQLite's dialect. Wall times are milliseconds since the
-- Unix epoch. Rows of a brand are always looked up with the brand.

CREATE TABLE knowledge_sources (
  id               TEXT PRIMARY KEY,
  brand_id         TEXT NOT NULL,
  external_id      TEXT,
  title            TEXT NOT NULL,
  content_type     TEXT NOT NULL,
  filename         TEXT,
  source_url       TEXT,
  metadata         TEXT NOT NULL DEFAULT '{}',
  status           TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
                     ('pending', 'processing', 'ready', 'failed', 'cancelled')),
  step             TEXT NOT NULL DEFAULT '',
  progress_done    INTEGER NOT NULL DEFAULT 0,
  progress_total   INTEGER NOT NULL DEFAULT 0,
  progress         INTEGER GENERATED ALWAYS AS (CASE WHEN progress_total > 0
                     THEN progress_done * 100 / progress_total
                     ELSE 0 END) VIRTUAL,
  version          INTEGER NOT NULL DEFAULT 1,
  live_version     INTEGER NOT NULL DEFAULT 0,
  chunks           INTEGER NOT NULL DEFAULT 0,
  size_bytes       INTEGER NOT NULL DEFAULT 0,
  sha256           TEXT NOT NULL,
  object_key       TEXT NOT NULL,
  error_code       TEXT NOT NULL DEFAULT '',
  error_message    TEXT NOT NULL DEFAULT '',
  error_retryable  INTEGER NOT NULL DEFAULT 0,
  lease_owner      TEXT NOT NULL DEFAULT '',
  lease_until      INTEGER NOT NULL DEFAULT 0,
  attempts         INTEGER NOT NULL DEFAULT 0,
  next_attempt_at  INTEGER NOT NULL DEFAULT 0,
  correlation_id   TEXT NOT NULL DEFAULT '',
  steps            TEXT NOT NULL DEFAULT '[]',
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL
);
-- Stuck rows: WHERE status IN ('pending', 'processing') AND updated_at < ?
CREATE INDEX knowledge_sources_stuck ON knowledge_sources(status, updated_at);
CREATE INDEX knowledge_sources_page
  ON knowledge_sources(brand_id, created_at, id);
CREATE INDEX knowledge_sources_content ON knowledge_sources(brand_id, sha256);
CREATE UNIQUE INDEX knowledge_sources_external
  ON knowledge_sources(brand_id, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE conversations (
  id              TEXT PRIMARY KEY,
  brand_id        TEXT NOT NULL,
  channel         TEXT NOT NULL,
  user_id         TEXT NOT NULL,
  status          TEXT NOT NULL DEFAULT 'open' CHECK (status IN
                    ('open', 'handoff', 'closed')),
  messages        INTEGER NOT NULL DEFAULT 0,
  slots           TEXT NOT NULL DEFAULT '{}',
  last_message_at INTEGER NOT NULL,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL
);
CREATE INDEX conversations_page ON conversations(brand_id, created_at, id);
CREATE INDEX conversations_user
  ON conversations(brand_id, user_id, channel, last_message_at);

CREATE TABLE turns (
  id               TEXT PRIMARY KEY,
  brand_id         TEXT NOT NULL,
  conversation_id  TEXT NOT NULL,
  channel          TEXT NOT NULL,
  user_id          TEXT NOT NULL,
  message          TEXT NOT NULL,
  reply            TEXT NOT NULL DEFAULT '',
  outcome          TEXT NOT NULL,
  body             TEXT NOT NULL DEFAULT '{}',
  capsule          TEXT NOT NULL DEFAULT '{}',
  generation       TEXT NOT NULL DEFAULT '',
  started_at       INTEGER NOT NULL,
  ended_at         INTEGER NOT NULL,
  feedback_rating  TEXT,
  feedback_comment TEXT,
  feedback_at      INTEGER
);
CREATE INDEX turns_conversation ON turns(conversation_id, started_at);

-- `seq` counts within the conversation: the two messages of a turn may have
-- the same time.
CREATE TABLE messages (
  conversation_id TEXT NOT NULL,
  seq             INTEGER NOT NULL,
  id              TEXT NOT NULL UNIQUE,
  brand_id        TEXT NOT NULL,
  turn_id         TEXT NOT NULL,
  role            TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
  text            TEXT NOT NULL,
  citations       TEXT NOT NULL DEFAULT '[]',
  at              INTEGER NOT NULL,
  PRIMARY KEY (conversation_id, seq)
) WITHOUT ROWID;

-- answer NULL: a claim that runs until lease_until.
CREATE TABLE dedup (
  key         TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL DEFAULT '',
  answer      TEXT,
  lease_until INTEGER NOT NULL DEFAULT 0,
  expires_at  INTEGER NOT NULL
);
CREATE INDEX dedup_expiry ON dedup(expires_at);

CREATE TABLE api_keys (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  scopes     TEXT NOT NULL,
  sha256     TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE audit (
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail  TEXT NOT NULL DEFAULT ''
);

-- The script generations that were good, the newest last.
CREATE TABLE script_generations (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  hash     TEXT NOT NULL UNIQUE,
  packed   BLOB NOT NULL,
  saved_at INTEGER NOT NULL
);

-- Waiting and running jobs and dead letters; a finished job is deleted. A job
-- waits from run_at on; seq keeps the order of jobs put in one millisecond.
CREATE TABLE jobs (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  brand_id    TEXT NOT NULL,
  function    TEXT NOT NULL,
  kwargs      TEXT NOT NULL DEFAULT '{}',
  state       TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN
                ('waiting', 'running', 'dead')),
  run_at      INTEGER NOT NULL,
  attempt     INTEGER NOT NULL DEFAULT 0,
  token       TEXT NOT NULL DEFAULT '',
  lease_until INTEGER NOT NULL DEFAULT 0,
  reason      TEXT NOT NULL DEFAULT '',
  put_at      INTEGER NOT NULL,
  ended_at    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_turn ON jobs(state, brand_id, run_at, seq);
CREATE INDEX jobs_due ON jobs(state, run_at);
CREATE INDEX jobs_lease ON jobs(state, lease_until);

-- A row that the health check writes, to know that writing works.
CREATE TABLE health (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL
);
INSERT INTO health(id, at) VALUES (1, 0);
