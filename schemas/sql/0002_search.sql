-- SPDX-License-Identifier: Apache-2.0
-- Chunks and what they say. The index is in memory (search_index.h), made from
-- `chunk_words` and `chunk_vectors`, which stand apart from the texts so that
-- making it reads little; a search sees a chunk when its version is its source's
-- live_version.
CREATE TABLE chunks (
  id        INTEGER PRIMARY KEY,
  brand_id  TEXT NOT NULL,
  source_id TEXT NOT NULL,
  version   INTEGER NOT NULL,
  number    INTEGER NOT NULL,
  start_at  INTEGER NOT NULL,
  end_at    INTEGER NOT NULL,
  title     TEXT NOT NULL,
  heading   TEXT NOT NULL,
  text      TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX chunks_place
  ON chunks(source_id, version, number, brand_id);
CREATE TABLE chunk_words (
  id       INTEGER PRIMARY KEY, -- of the chunk
  metadata TEXT,                -- NULL: its source's
  words    BLOB NOT NULL        -- distinct tokens and their counts
) STRICT;
CREATE TABLE chunk_vectors (
  id     INTEGER PRIMARY KEY, -- of the chunk
  vector BLOB NOT NULL        -- 32-bit floats of this machine, of length 1
) STRICT;

-- What is live, and in which order it became so: an index in memory that has
-- seen a brand's changes up to a stamp reads those after it. Version 0: gone.
CREATE TABLE search_live (
  brand_id  TEXT NOT NULL,
  source_id TEXT NOT NULL,
  version   INTEGER NOT NULL,
  stamp     INTEGER NOT NULL,
  PRIMARY KEY (brand_id, source_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_live_stamp ON search_live(brand_id, stamp);
CREATE INDEX search_live_gone ON search_live(version) WHERE version = 0;

CREATE TRIGGER search_live_added AFTER INSERT ON knowledge_sources
WHEN NEW.live_version > 0
BEGIN
  INSERT INTO search_live (brand_id, source_id, version, stamp)
    SELECT NEW.brand_id, NEW.id, NEW.live_version, coalesce(max(stamp), 0) + 1
    FROM search_live WHERE brand_id = NEW.brand_id
    ON CONFLICT DO UPDATE SET version = excluded.version,
      stamp = excluded.stamp;
END;
CREATE TRIGGER search_live_switched
AFTER UPDATE OF live_version, metadata ON knowledge_sources
WHEN NEW.live_version <> OLD.live_version
  OR (NEW.live_version > 0 AND NEW.metadata <> OLD.metadata)
BEGIN
  INSERT INTO search_live (brand_id, source_id, version, stamp)
    SELECT NEW.brand_id, NEW.id, NEW.live_version, coalesce(max(stamp), 0) + 1
    FROM search_live WHERE brand_id = NEW.brand_id
    ON CONFLICT DO UPDATE SET version = excluded.version,
      stamp = excluded.stamp;
END;
CREATE TRIGGER search_live_deleted AFTER DELETE ON knowledge_sources
WHEN OLD.live_version > 0
BEGIN
  UPDATE search_live SET version = 0, stamp = (SELECT max(stamp) + 1
    FROM search_live WHERE brand_id = OLD.brand_id)
    WHERE brand_id = OLD.brand_id AND source_id = OLD.id;
END;
