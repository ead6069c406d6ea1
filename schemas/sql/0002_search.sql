-- SPDX-License-Identifier: Apache-2.0
-- Chunks and their index. `chunk_words` holds our own tokens (text_tokens),
-- each escaped to the letters of FTS5's ascii tokenizer; `chunk_terms` reads
-- its postings. A search sees a chunk when its version is its source's
-- live_version.
CREATE TABLE chunks (
  id        INTEGER PRIMARY KEY,
  brand_id  TEXT NOT NULL,
  source_id TEXT NOT NULL,
  version   INTEGER NOT NULL,
  number    INTEGER NOT NULL,
  length    INTEGER NOT NULL, -- tokens
  start_at  INTEGER NOT NULL,
  end_at    INTEGER NOT NULL,
  title     TEXT NOT NULL,
  heading   TEXT NOT NULL,
  text      TEXT NOT NULL,
  metadata  TEXT
) STRICT;
CREATE UNIQUE INDEX chunks_place
  ON chunks(source_id, version, number, brand_id, length);
CREATE VIRTUAL TABLE chunk_words USING fts5(words, tokenize = 'ascii');
CREATE VIRTUAL TABLE chunk_terms USING fts5vocab(chunk_words, instance);
-- What a version weighs: N and the mean length without touching its chunks.
CREATE TABLE chunk_weights (
  brand_id  TEXT NOT NULL,
  source_id TEXT NOT NULL,
  version   INTEGER NOT NULL,
  chunks    INTEGER NOT NULL,
  tokens    INTEGER NOT NULL,
  PRIMARY KEY (brand_id, source_id, version)
) STRICT, WITHOUT ROWID;
