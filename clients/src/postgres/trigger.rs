//! The SQL of the triggers that notice every change of the product's table, whoever made it.
//!
//! They are statement-level, with transition tables: a bulk update costs one insert, of an outbox row for every [`TOGETHER`]
//! rows. At their end the statement's row locks are all held, so the numbers that they take are in the order in which each
//! key's changes commit.
//!
//! Two things change what they do:
//! - A trigger of the owner's may have changed the same rows while the statement ran (it fires before the end of the
//!   statement): the nested statement's outbox rows are there already. `concord.nested` tells, and rows are then shown as
//!   they are in the table now, not as the statement left them.
//! - The sink's own writes (`concord.writing`; rows that it has looked at are in `pg_temp.concord_batch`, a table of somebody who
//!   may do anyway what these functions do) are left to the sink, which reports them. `concord.wrote` and `concord.nested` tell it whether its statement changed just what it
//!   returned; if not, it reads its rows back when all triggers have run.

use super::{
    config::{literal, quote},
    table::Table,
};
use schemas::System;

/// What wakes whoever takes the outbox's rows.
pub const CHANNEL: &str = "concord_outbox";

/// So many rows that an UPDATE changed share an outbox row, which then mostly fits into a page. Postgres gives no array more
/// than 1 GB: a statement may change rows of up to 30 MB of mapped text.
const TOGETHER: u32 = 32;

/// The triggers' and functions' names, and the statements that make them.
#[derive(Debug, Clone)]
pub struct Triggers {
    /// `CREATE OR REPLACE FUNCTION …`: no lock on the table.
    pub functions: Vec<String>,
    /// Trigger name → `CREATE TRIGGER …`: under the table's lock.
    pub triggers: Vec<(String, String)>,
}

/// What each function needs: our schema alone on its path; one spelling of values, that of the sink's and the source's own
/// connections, whatever the writer's session has; plans that stay good when the next statement has a million
/// rows or one (they are made once): joined and grouped by hashing; no compiling for a query that the planner takes for a
/// huge one.
const SETTINGS: &str = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp \
                        SET timezone = 'UTC' SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres' SET extra_float_digits = 2 \
                        SET bytea_output = 'hex' SET jit = off \
                        SET enable_seqscan = off SET enable_mergejoin = off SET enable_sort = off SET work_mem = '64MB'";

impl Triggers {
    pub fn new(system: &System, table: &Table, shape: i32) -> Triggers {
        let name = |what: &str| format!("concord.{}", quote(&format!("{system}_{what}")));
        let text = Text { system: literal(system.as_str()), table, shape, came: name("came"), gone: name("gone") };
        let function = |what: &str, body: String| {
            format!("CREATE OR REPLACE FUNCTION {}() RETURNS trigger {SETTINGS} AS $concord$\n{body}\n$concord$", name(what))
        };
        let helper = |what: &str, body: String| {
            format!("CREATE OR REPLACE FUNCTION {}(ids text[]) RETURNS void {SETTINGS} AS $concord$\n{body}\n$concord$", name(what))
        };
        let trigger = |what: &str, event: &str, tables: &str| {
            let trigger = format!("concord_{system}_{what}");
            let sql = format!(
                "CREATE TRIGGER {} AFTER {event} ON {} {tables} FOR EACH STATEMENT EXECUTE FUNCTION {}()",
                quote(&trigger),
                table.sql(),
                name(what)
            );
            (trigger, sql)
        };
        Triggers {
            functions: vec![
                helper("came", text.came()),
                helper("gone", text.gone()),
                function("updated", text.updated()),
                function("inserted", text.inserted()),
                function("deleted", text.deleted()),
                function("truncated", text.truncated()),
            ],
            triggers: vec![
                trigger("updated", "UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
                trigger("inserted", "INSERT", "REFERENCING NEW TABLE AS new_rows"),
                trigger("deleted", "DELETE", "REFERENCING OLD TABLE AS old_rows"),
                trigger("truncated", "TRUNCATE", ""),
            ],
        }
    }
}

struct Text<'a> {
    system: String,
    table: &'a Table,
    shape: i32,
    came: String,
    gone: String,
}

/// What every trigger function starts with: whether a nested statement was here before us.
const START: &str = "
    depth   integer := pg_trigger_depth();
    nested  boolean := coalesce(nullif(current_setting('concord.nested', true), ''), '0')::integer > depth;";

impl Text<'_> {
    fn updated(&self) -> String {
        let Text { system, table, shape, came, gone } = self;
        let (t, old_key, new_key) = (table.sql(), table.key_of("o"), table.key_of("n"));
        let (old_id, new_id) = (table.id_of("o"), table.id_of("n"));
        let again = again(system, "n_id");
        format!(
            "DECLARE{START}
    ours    boolean := current_setting('concord.writing', true) = {system} AND EXISTS (
                SELECT FROM pg_class c WHERE c.oid = to_regclass('pg_temp.concord_batch') AND c.relkind = 'r'
                AND pg_has_role(c.relowner, current_user, 'MEMBER'));
    wrote   bigint;
    first   bigint;
    moved   boolean;
    cascade boolean;
BEGIN
    IF ours THEN
        IF depth = 1 THEN
            -- The sink's own statement: it compares this with what it wrote.
            PERFORM set_config('concord.wrote', (SELECT count(*) FROM new_rows)::text, true);
            IF NOT EXISTS (SELECT FROM pg_temp.concord_batch) THEN
                RETURN NULL;
            END IF;
        END IF;
        -- Rows outside of its batch: by a trigger of the owner's, or a foreign key's action.
        INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields, previous)
        SELECT 'u', {system}, {id_t}, coalesce(i.incarnation, 0), {shape}, {stamp_t}, {fields_t}, {previous_t}
        FROM old_rows o JOIN {t} t ON {key_t} = {old_key} LEFT JOIN {again_t}
        WHERE {differ_t} AND {old_key} IN (SELECT o.key FROM (SELECT {old_key} AS key FROM old_rows o EXCEPT SELECT b.row_key FROM pg_temp.concord_batch b) o);
        moved := EXISTS (SELECT {old_key} FROM old_rows o EXCEPT SELECT {new_key} FROM new_rows n);
    ELSIF NOT nested THEN
        -- A full join is never a nested loop, whatever number of rows it was planned for; m: a changed key, done below.
        WITH written AS (
            INSERT INTO concord.outbox (kind, system, shape, ids, incarnations, stamps, fields, previous)
            SELECT CASE WHEN {old_key} IS NULL OR {new_key} IS NULL THEN 'm' ELSE 'u' END::\"char\", {system}, {shape},
                   array_agg(coalesce({new_id}, {old_id})), array_agg(coalesce(i.incarnation, 0)), array_agg({stamp_n}),
                   array_agg({fields_n}), array_agg({previous_n})
            FROM old_rows o FULL JOIN new_rows n ON {old_key} = {new_key} LEFT JOIN {again_n}
            WHERE {old_key} IS NULL OR {new_key} IS NULL OR {differ_n}
            GROUP BY nextval('concord.outbox_row') / {TOGETHER}, {old_key} IS NULL OR {new_key} IS NULL
            RETURNING kind, number)
        SELECT count(*), min(number), bool_or(kind = 'm'), EXISTS (
                   SELECT FROM pg_constraint c WHERE c.conrelid = TG_RELID AND c.contype = 'f'
                   AND (c.confupdtype IN ('c', 'n', 'd') OR c.confdeltype IN ('n', 'd')))
        INTO wrote, first, moved, cascade FROM written;
        IF wrote = 0 THEN
            RETURN NULL;
        END IF;
        IF cascade AND (SELECT count(*) > count(DISTINCT {new_key}) FROM new_rows n) THEN
            -- A foreign key's action came back to rows of the statement: they are in it twice, in between as nobody sees them.
            DELETE FROM concord.outbox WHERE number >= first AND transaction = pg_current_xact_id();
            nested := true;
        ELSIF moved THEN
            DELETE FROM concord.outbox WHERE number >= first AND kind = 'm' AND transaction = pg_current_xact_id();
        END IF;
    END IF;
    IF nested AND NOT ours THEN
        INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields, previous)
        SELECT 'u', {system}, {id_t}, coalesce(i.incarnation, 0), {shape}, {stamp_t}, {fields_t}, {previous_t}
        FROM old_rows o JOIN {t} t ON {key_t} = {old_key} LEFT JOIN {again_t}
        WHERE {differ_t};
        moved := true;
    END IF;
    IF moved THEN
        PERFORM {gone}(ARRAY(SELECT {old_id} FROM old_rows o EXCEPT SELECT {new_id} FROM new_rows n));
        PERFORM {came}(ARRAY(SELECT {new_id} FROM new_rows n EXCEPT SELECT {old_id} FROM old_rows o));
    END IF;
{finish}
END",
            id_t = table.id_of("t"),
            key_t = table.key_of("t"),
            stamp_t = table.stamp_of("t"),
            fields_t = table.fields_of("t"),
            previous_t = table.previous_of("o", "t"),
            differ_t = table.differ("o", "t"),
            again_t = again.replace("n_id", &table.id_of("t")),
            stamp_n = table.stamp_of("n"),
            fields_n = table.fields_of("n"),
            previous_n = table.previous_of("o", "n"),
            differ_n = table.differ("o", "n"),
            again_n = again.replace("n_id", &new_id),
            finish = self.finish(),
        )
    }

    fn inserted(&self) -> String {
        let Text { system, table, shape, came, .. } = self;
        let id = table.id_of("n");
        format!(
            "DECLARE{START}
    missed  boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows) THEN
        RETURN NULL;
    END IF;
    IF nested THEN
        PERFORM {came}(ARRAY(SELECT {id} FROM new_rows n));
    ELSE
        WITH counted AS (
            INSERT INTO concord.incarnations AS i (system, external_id, incarnation, live)
            SELECT {system}, {id}, 0, true FROM new_rows n ORDER BY 2
            ON CONFLICT (system, external_id) DO UPDATE SET incarnation = i.incarnation + 1, live = true, missed = i.live, ours = false
            RETURNING i.missed)
        SELECT bool_or(c.missed) INTO missed FROM counted c;
        IF missed THEN
            INSERT INTO concord.outbox (kind, system, external_id, incarnation)
            SELECT 'd', {system}, i.external_id, i.incarnation - 1
            FROM new_rows n JOIN concord.incarnations i ON i.system = {system} AND i.external_id = {id} WHERE i.missed;
        END IF;
        INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields)
        SELECT 'i', {system}, {id}, coalesce(i.incarnation, 0), {shape}, {stamp}, {fields}
        FROM new_rows n LEFT JOIN {again};
    END IF;
{finish}
END",
            stamp = table.stamp_of("n"),
            fields = table.fields_of("n"),
            again = again(system, &id),
            finish = self.finish(),
        )
    }

    fn deleted(&self) -> String {
        let Text { table, gone, .. } = self;
        let id = table.id_of("o");
        // A MERGE may have put a row of the same key in its place.
        format!(
            "DECLARE{START}
BEGIN
    IF NOT EXISTS (SELECT FROM old_rows) THEN
        RETURN NULL;
    END IF;
    PERFORM {gone}(ARRAY(SELECT {id} FROM old_rows o));
{finish}
END",
            finish = self.finish(),
        )
    }

    /// A truncated table has told no row's delete: the sweep finds what is missing.
    fn truncated(&self) -> String {
        format!(
            "BEGIN
    INSERT INTO concord.outbox (kind, system) VALUES ('s', {system});
    PERFORM pg_notify('{CHANNEL}', {system});
    RETURN NULL;
END",
            system = self.system
        )
    }

    /// Keys that came: those whose row is there now.
    fn came(&self) -> String {
        let Text { system, table, shape, .. } = self;
        let rows = format!("unnest(ids) AS x(id) JOIN {} t ON {} = {}", table.sql(), table.key_of("t"), table.as_key("x.id"));
        format!(
            "DECLARE
    missed  boolean;
BEGIN
    WITH counted AS (
        INSERT INTO concord.incarnations AS i (system, external_id, incarnation, live)
        SELECT {system}, x.id, 0, true FROM {rows} ORDER BY 2
        ON CONFLICT (system, external_id) DO UPDATE SET incarnation = i.incarnation + 1, live = true, missed = i.live, ours = false
        RETURNING i.missed)
    SELECT bool_or(c.missed) INTO missed FROM counted c;
    IF missed THEN
        INSERT INTO concord.outbox (kind, system, external_id, incarnation)
        SELECT 'd', {system}, x.id, i.incarnation - 1
        FROM {rows} JOIN concord.incarnations i ON i.system = {system} AND i.external_id = x.id WHERE i.missed;
    END IF;
    INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields)
    SELECT 'i', {system}, x.id, coalesce(i.incarnation, 0), {shape}, {stamp}, {fields} FROM {rows} LEFT JOIN {again};
END",
            stamp = table.stamp_of("t"),
            fields = table.fields_of("t"),
            again = again(system, "x.id"),
        )
    }

    /// Keys that went: those whose row is no longer there.
    fn gone(&self) -> String {
        let Text { system, table, .. } = self;
        let absent = format!("NOT EXISTS (SELECT FROM {} t WHERE {} = {})", table.sql(), table.key_of("t"), table.as_key("x.id"));
        format!(
            "BEGIN
    INSERT INTO concord.incarnations AS i (system, external_id, incarnation, live)
    SELECT {system}, x.id, 0, false FROM unnest(ids) AS x(id) WHERE {absent} ORDER BY 2
    ON CONFLICT (system, external_id) DO UPDATE SET live = false, missed = false;
    INSERT INTO concord.outbox (kind, system, external_id, incarnation)
    SELECT 'd', {system}, x.id, coalesce(i.incarnation, 0) FROM unnest(ids) AS x(id) LEFT JOIN {again} WHERE {absent};
END",
            again = again(system, "x.id"),
        )
    }

    /// Leaves word for the statement that this one was nested in, and wakes the outbox's taker. One statement may fire several of our
    /// triggers (an upsert, MERGE), so word is left until the transaction's end: who is taken for nested is told from the table.
    fn finish(&self) -> String {
        format!(
            "    IF depth > 1 THEN
        PERFORM set_config('concord.nested', greatest(depth, coalesce(nullif(current_setting('concord.nested', true), ''), '0')::integer)::text, true);
    END IF;
    PERFORM pg_notify('{CHANNEL}', {});
    RETURN NULL;",
            self.system
        )
    }
}

/// Joins the key's incarnation where it is not 0, by the small index of those.
fn again(system: &str, id: &str) -> String {
    format!("concord.incarnations i ON i.system = {system} AND i.external_id = {id} AND i.incarnation > 0")
}
