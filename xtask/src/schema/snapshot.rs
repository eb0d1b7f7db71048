//! What the catalogue says of a database, as lines that can be compared.

use std::collections::BTreeSet;

use ::postgres::Client;

use crate::postgres::address::explain;

/// One line for each object and each of its properties.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    pub(super) fn take(client: &mut Client) -> anyhow::Result<Self> {
        let rows = client.query(QUERY, &[]).map_err(explain)?;
        Ok(Self {
            lines: rows.iter().map(|row| row.get(0)).collect(),
        })
    }

    /// What was in `before` and is gone, what is new.
    pub(super) fn differences(&self, before: &Self) -> Vec<String> {
        let gone = before
            .lines
            .difference(&self.lines)
            .map(|line| format!("- {line}"));
        let new = self
            .lines
            .difference(&before.lines)
            .map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

/// Rights are sorted, since the order in which they were granted means nothing. A column's place
/// counts among those that are there, since a dropped one leaves a gap.
const QUERY: &str = r"
WITH ours AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), rights AS (
    SELECT 'pg_namespace'::regclass AS kind, oid, nspacl AS acl FROM ours
    UNION ALL SELECT 'pg_class'::regclass, oid, relacl FROM pg_class
    UNION ALL SELECT 'pg_proc'::regclass, oid, proacl FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, typacl FROM pg_type
), acl AS (
    SELECT kind, oid, coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(acl) a), 'default') AS acl
    FROM rights
)
SELECT format('schema %s owner %s rights %s comment %s', nspname, nspowner::regrole, acl.acl,
              obj_description(ours.oid, 'pg_namespace'))
FROM ours JOIN acl ON acl.kind = 'pg_namespace'::regclass AND acl.oid = ours.oid
UNION ALL
SELECT format('relation %s.%s kind %s owner %s persistence %s row security %s forced %s options %s bound %s key %s rights %s comment %s',
              nspname, relname, relkind, relowner::regrole, relpersistence, relrowsecurity, relforcerowsecurity,
              reloptions, pg_get_expr(relpartbound, c.oid), CASE WHEN relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
              acl.acl, obj_description(c.oid, 'pg_class'))
FROM pg_class c JOIN ours ON ours.oid = relnamespace
JOIN acl ON acl.kind = 'pg_class'::regclass AND acl.oid = c.oid
UNION ALL
SELECT format('view %s.%s as %s', nspname, relname, pg_get_viewdef(c.oid))
FROM pg_class c JOIN ours ON ours.oid = relnamespace WHERE relkind IN ('v', 'm')
UNION ALL
SELECT format('column %s.%s place %s %s %s not null %s default %s identity %s generated %s collation %s storage %s compression %s target %s rights %s comment %s',
              nspname, relname, rank() OVER (PARTITION BY c.oid ORDER BY attnum), attname,
              format_type(atttypid, atttypmod), attnotnull, pg_get_expr(d.adbin, d.adrelid), attidentity,
              attgenerated, attcollation::regcollation, attstorage, attcompression, attstattarget,
              (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(attacl) a),
              col_description(c.oid, attnum))
FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN ours ON ours.oid = relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'c', 'f')
UNION ALL
SELECT format('constraint %s.%s on %s %s validated %s comment %s', nspname, conname,
              coalesce(nullif(conrelid, 0)::regclass::text, nullif(contypid, 0)::regtype::text),
              pg_get_constraintdef(k.oid), convalidated, obj_description(k.oid, 'pg_constraint'))
FROM pg_constraint k JOIN ours ON ours.oid = connamespace
UNION ALL
SELECT format('index %s valid %s', pg_get_indexdef(indexrelid), indisvalid)
FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN ours ON ours.oid = relnamespace
UNION ALL
SELECT format('policy %s on %s.%s %s %s to %s using %s check %s', policyname, schemaname, tablename, permissive, cmd,
              roles, qual, with_check)
FROM pg_policies
UNION ALL
SELECT format('function %s.%s(%s) kind %s owner %s rights %s comment %s text %s', nspname, proname,
              pg_get_function_identity_arguments(p.oid), prokind, proowner::regrole, acl.acl,
              obj_description(p.oid, 'pg_proc'), CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) END)
FROM pg_proc p JOIN ours ON ours.oid = pronamespace
JOIN acl ON acl.kind = 'pg_proc'::regclass AND acl.oid = p.oid
UNION ALL
SELECT format('trigger %s on %s enabled %s', pg_get_triggerdef(t.oid), tgrelid::regclass, tgenabled)
FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN ours ON ours.oid = relnamespace WHERE NOT tgisinternal
UNION ALL
SELECT format('type %s.%s kind %s owner %s base %s labels %s rights %s', nspname, typname, typtype, typowner::regrole,
              nullif(typbasetype, 0)::regtype,
              (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), acl.acl)
FROM pg_type t JOIN ours ON ours.oid = typnamespace
JOIN acl ON acl.kind = 'pg_type'::regclass AND acl.oid = t.oid
WHERE typtype IN ('d', 'e', 'r') OR (typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')
UNION ALL
SELECT format('sequence %s.%s %s start %s by %s from %s to %s cycle %s', schemaname, sequencename, data_type, start_value,
              increment_by, min_value, max_value, cycle)
FROM pg_sequences
UNION ALL
SELECT format('extension %s in %s', extname, extnamespace::regnamespace) FROM pg_extension
UNION ALL
SELECT format('default rights of %s in %s on %s: %s', defaclrole::regrole, nullif(defaclnamespace, 0)::regnamespace,
              defaclobjtype, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(defaclacl) a))
FROM pg_default_acl
UNION ALL
SELECT format('publication %s', pubname) FROM pg_publication
UNION ALL
SELECT format('event trigger %s on %s', evtname, evtevent) FROM pg_event_trigger
";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Snapshot {
        Snapshot {
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_gone_and_what_is_new_are_told() {
        assert_eq!(
            of(&["a", "c"]).differences(&of(&["a", "b"])),
            ["- b", "+ c"]
        );
        assert!(of(&["a"]).differences(&of(&["a"])).is_empty());
    }
}
