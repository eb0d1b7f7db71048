DROP FUNCTION sec.count_unrouted();
DROP FUNCTION sec.bind_channel(uuid, uuid, uuid, text, text, text, timestamptz);
DROP FUNCTION sec.create_shared_endpoint(uuid, text, text, bytea, uuid, bytea, timestamptz, uuid,
    uuid);
DROP FUNCTION sec.route_waiting(uuid, uuid, timestamptz);
DROP FUNCTION sec.ingest(uuid, timestamptz, uuid[], bytea[], text[], bytea[], uuid[]);
DROP FUNCTION sec.find_endpoint(text);
DROP TABLE app.message_amendments;
DROP TABLE app.message_receipts;
DROP TABLE app.message_keys;
DROP TABLE app.messages;
DROP TABLE app.conversations;
DROP TABLE app.identity_names;
DROP TABLE app.identity_proofs;
DROP TABLE app.webhook_inbox;
DROP TABLE app.channels;
DROP TABLE app.webhook_endpoint_secrets;
DROP TABLE app.webhook_endpoints;
