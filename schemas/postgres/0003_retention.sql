-- min_reader: 1
-- What is past its time is found without reading everything.
CREATE INDEX conversations_age ON conversations(last_message_at);
CREATE INDEX audit_age ON audit(at);
