-- The first schema, in PostgreSQL's dialect: the tables of schemas/sql without
-- the queue and the index, which are other services in a cluster. Wall times
-- are milliseconds since the Unix epoch, but for the two that people query:
-- knowledge_sources.created_at and updated_at. JSON is text, because it is
-- given back byte for byte (and jsonb refuses \u0000). Rows of a brand are
-- always looked up with the brand.

CREATE TABLE knowledge_sources (
  id               text PRIMARY KEY,
  brand_id         text NOT NULL,
  external_id      text,
  title            text NOT NULL,
  content_type     text NOT NULL,
  filename         text,
  source_url       text,
  metadata         text NOT NULL DEFAULT '{}',
  status           text NOT NULL DEFAULT 'pending' CHECK (status IN
                     ('pending', 'processing', 'ready', 'failed', 'cancelled')),
  step             text NOT NULL DEFAULT '',
  progress_done    bigint NOT NULL DEFAULT 0,
  progress_total   bigint NOT NULL DEFAULT 0,
  progress         integer GENERATED ALWAYS AS (CASE WHEN progress_total > 0
                     THEN progress_done * 100 / progress_total
                     ELSE 0 END) STORED,
  version          bigint NOT NULL DEFAULT 1,
  live_version     bigint NOT NULL DEFAULT 0,
  chunks           bigint NOT NULL DEFAULT 0,
  size_bytes       bigint NOT NULL DEFAULT 0,
  sha256           text NOT NULL,
  object_key       text NOT NULL,
  error_code       text NOT NULL DEFAULT '',
  error_message    text NOT NULL DEFAULT '',
  error_retryable  boolean NOT NULL DEFAULT false,
  lease_owner      text NOT NULL DEFAULT '',
  lease_until      bigint NOT NULL DEFAULT 0,
  attempts         bigint NOT NULL DEFAULT 0,
  next_attempt_at  bigint NOT NULL DEFAULT 0,
  correlation_id   text NOT NULL DEFAULT '',
  steps            text NOT NULL DEFAULT '[]',
  cancel_requested boolean NOT NULL DEFAULT false,
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now()
);
-- Stuck rows: WHERE status IN ('pending', 'processing')
--             AND updated_at < now() - interval '10 minutes'
CREATE INDEX knowledge_sources_stuck ON knowledge_sources(status, updated_at);
CREATE INDEX knowledge_sources_page
  ON knowledge_sources(brand_id, created_at, id);
CREATE INDEX knowledge_sources_content ON knowledge_sources(brand_id, sha256);
CREATE UNIQUE INDEX knowledge_sources_external
  ON knowledge_sources(brand_id, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE conversations (
  id              text PRIMARY KEY,
  brand_id        text NOT NULL,
  channel         text NOT NULL,
  user_id         text NOT NULL,
  status          text NOT NULL DEFAULT 'open' CHECK (status IN
                    ('open', 'handoff', 'closed')),
  messages        bigint NOT NULL DEFAULT 0,
  slots           text NOT NULL DEFAULT '{}',
  last_message_at bigint NOT NULL,
  created_at      bigint NOT NULL,
  updated_at      bigint NOT NULL
);
CREATE INDEX conversations_page ON conversations(brand_id, created_at, id);
CREATE INDEX conversations_user
  ON conversations(brand_id, user_id, channel, last_message_at);

CREATE TABLE turns (
  id               text PRIMARY KEY,
  brand_id         text NOT NULL,
  conversation_id  text NOT NULL,
  channel          text NOT NULL,
  user_id          text NOT NULL,
  message          text NOT NULL,
  reply            text NOT NULL DEFAULT '',
  outcome          text NOT NULL,
  body             text NOT NULL DEFAULT '{}',
  capsule          text NOT NULL DEFAULT '{}',
  generation       text NOT NULL DEFAULT '',
  started_at       bigint NOT NULL,
  ended_at         bigint NOT NULL,
  feedback_rating  text,
  feedback_comment text,
  feedback_at      bigint
);
CREATE INDEX turns_conversation ON turns(conversation_id, started_at);

-- seq counts within the conversation: the two messages of a turn may have the
-- same time.
CREATE TABLE messages (
  conversation_id text NOT NULL,
  seq             bigint NOT NULL,
  id              text NOT NULL UNIQUE,
  brand_id        text NOT NULL,
  turn_id         text NOT NULL,
  role            text NOT NULL CHECK (role IN ('user', 'assistant')),
  text            text NOT NULL,
  citations       text NOT NULL DEFAULT '[]',
  at              bigint NOT NULL,
  PRIMARY KEY (conversation_id, seq)
);

-- answer NULL: a claim that runs until lease_until.
CREATE TABLE dedup (
  key         text PRIMARY KEY,
  fingerprint text NOT NULL DEFAULT '',
  answer      text,
  lease_until bigint NOT NULL DEFAULT 0,
  expires_at  bigint NOT NULL
);
CREATE INDEX dedup_expiry ON dedup(expires_at);

CREATE TABLE api_keys (
  id         text PRIMARY KEY,
  name       text NOT NULL,
  scopes     text NOT NULL,
  sha256     text NOT NULL UNIQUE,
  created_at bigint NOT NULL,
  revoked_at bigint NOT NULL DEFAULT 0
);

CREATE TABLE audit (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at      bigint NOT NULL,
  actor   text NOT NULL,
  action  text NOT NULL,
  subject text NOT NULL,
  detail  text NOT NULL DEFAULT ''
);

-- The script generations that were good, the newest last.
CREATE TABLE script_generations (
  seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  hash     text NOT NULL UNIQUE,
  packed   bytea NOT NULL,
  saved_at bigint NOT NULL
);

-- A row that the health check writes, to know that writing works.
CREATE TABLE health (
  id integer PRIMARY KEY CHECK (id = 1),
  at bigint NOT NULL
);
INSERT INTO health(id, at) VALUES (1, 0);
