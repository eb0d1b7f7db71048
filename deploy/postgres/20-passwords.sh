#!/usr/bin/env bash
# Run by the image once, on an empty data folder, after 10-roles.sql: the two login roles get the
# passwords of the secrets. psql reads and quotes them: they stand in no command line and in no log.
set -euo pipefail

psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set owner_password `cat /run/secrets/acolhe_owner_password`
\set app_password `cat /run/secrets/acolhe_app_password`
ALTER ROLE acolhe_owner PASSWORD :'owner_password';
ALTER ROLE acolhe_app PASSWORD :'app_password';
SQL
