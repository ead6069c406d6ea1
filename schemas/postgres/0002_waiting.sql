-- min_reader: 1
-- Since when a document waits for a back end that is away; 0 = it does not.
ALTER TABLE knowledge_sources ADD COLUMN waiting_since bigint NOT NULL DEFAULT 0;
