-- A nonce proves by a code what this table remembered of it.

DROP TABLE nonces;
