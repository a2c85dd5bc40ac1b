//! The SQL of the sink, made once for a table. All of it works on `pg_temp.concord_batch`, which holds a batch's requests.

use clients::postgres::{Attached, Column, Slot, Table, literal, quote};
use rustc_hash::FxHashMap;
use schemas::{Field, System};
use std::sync::Arc;

/// Statement texts for one table.
#[derive(Debug)]
pub struct Statements {
    attached: Attached,
    pub begin: String,
    /// The temporary table, once per connection.
    pub batch: String,
    pub copy: String,
    /// Locks the rows that can be had, and compares: (n, shows, incarnation, fenced).
    pub look: String,
    /// How long later statements may wait, after others had less.
    pub patience: String,
    /// Of these n, the fenced ones and those that have a row: (n, there, fenced).
    pub look_again: String,
    pub fence: String,
    pub delete: String,
    /// Of the creates with these normal e-mails, those whose e-mail a row has that we did not make; none without an e-mail column.
    /// It compares normal forms with the table itself, in the create's own transaction: so a create here need not wait until the
    /// source has caught up, as it must where a look finds one spelling only (rule 7).
    pub same_email: Option<String>,
    /// Remembers that we made these rows.
    pub ours: String,
    /// Writes the answers about records that exist(ed).
    pub answers: String,
    /// Writes the answers to creates that made a record.
    pub made: String,
    /// Writes the answers that made no record.
    pub unmade: String,
    /// Takes away what the trigger wrote in this transaction for these records.
    pub replace: String,
    /// These n get no answer: what else changes their rows meanwhile is for the trigger to tell.
    pub unanswered: &'static str,
    /// From here on the trigger reports everything again; wakes the outbox's taker once this is committed.
    pub quiet: String,
    system: String,
    again: String,
    quick: FxHashMap<(u64, u64), Arc<str>>,
    updates: FxHashMap<u64, Arc<str>>,
    inserts: FxHashMap<u64, Arc<str>>,
}

/// The batch's rows that a statement is about. (Not `= ANY`: a plan for any array compares with each of its elements in turn.)
const CHOSEN: &str = "b.n IN (SELECT unnest($1::integer[]))";

/// Whether the last statement of [`Statements::quick`], which wrote $1 rows, changed nothing else in the table: the trigger
/// counted as many, and no other trigger wrote to the table. What was told is what is stored then.
pub const UNDISTURBED: &str = "SELECT coalesce(current_setting('concord.wrote', true) = $1::text AND coalesce(current_setting('concord.nested', true), '') IN ('', '0'), false)";

/// How long a batch that has compared nothing yet may wait for a lock: then it finds out which rows are busy.
const QUICK_MS: u32 = 20;
/// How long a batch may wait for a lock while it holds others: less than a deadlock takes to be noticed, so that it is us
/// who give way, never one of the table's other users.
const LOCK_WAIT_MS: u32 = 250;

impl Statements {
    pub fn new(system: &System, attached: Attached) -> Self {
        let (table, shape) = (&attached.table, attached.shape);
        let (t, system) = (table.sql(), literal(system.as_str()));
        let (key, stamp, fields) = (table.key_of("t"), table.stamp_of("t"), table.fields_of("t"));
        let again = "LEFT JOIN concord.incarnations i ON i.system = {system} AND i.external_id = {id} AND i.incarnation > 0"
            .replace("{system}", &system);
        let slots = attached.table.columns.len();
        let columns: Vec<String> = (0..slots).flat_map(|n| [format!("s{n} text"), format!("e{n} text")]).collect();
        let shows: Vec<String> = attached
            .table
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| format!("(b.e{n} IS NULL OR {})", column.shows("t", &format!("b.e{n}"))))
            .collect();
        let email = table.columns.iter().find(|c| c.slot == Slot::Text(Field::Email)).map(|c| c.text("t"));
        Statements {
            begin: format!("BEGIN; SET LOCAL lock_timeout = {QUICK_MS}; SET LOCAL concord.writing = {system}"),
            batch: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS concord_batch (n integer, fence uuid, write_id text, external_id text, row_key {}, incarnation bigint, {}) ON COMMIT DELETE ROWS",
                table.key.sql_type,
                columns.join(", ")
            ),
            copy: "COPY pg_temp.concord_batch FROM STDIN".into(),
            patience: format!("SET LOCAL lock_timeout = {LOCK_WAIT_MS}"),
            // Locked as an update locks it: rows that others' foreign keys point at are not busy.
            look: format!(
                "SELECT b.n, {shows}, coalesce(i.incarnation, 0), f.id IS NOT NULL
                 FROM pg_temp.concord_batch b JOIN {t} t ON {key} = b.row_key {again}
                 LEFT JOIN concord.fence f ON f.id = b.fence
                 WHERE {CHOSEN}
                 FOR NO KEY UPDATE OF t SKIP LOCKED",
                shows = shows.join(" AND "),
                again = again.replace("{id}", "b.external_id"),
            ),
            look_again: format!(
                "SELECT b.n, {key} IS NOT NULL, f.id IS NOT NULL
                 FROM pg_temp.concord_batch b LEFT JOIN {t} t ON {key} = b.row_key LEFT JOIN concord.fence f ON f.id = b.fence
                 WHERE {CHOSEN}"
            ),
            // In the index's order: many at once touch each of its pages once.
            fence: format!("INSERT INTO concord.fence (id) SELECT b.fence FROM pg_temp.concord_batch b WHERE {CHOSEN} ORDER BY b.fence"),
            same_email: email.map(|email| {
                format!(
                    "SELECT DISTINCT a.n FROM unnest($1::integer[], $2::text[]) AS a(n, email) JOIN {t} t ON lower(btrim({email})) = a.email
                     LEFT JOIN concord.incarnations i ON i.system = {system} AND i.external_id = {id} WHERE i.ours IS NOT TRUE",
                    id = table.id_of("t")
                )
            }),
            ours: format!("UPDATE concord.incarnations SET ours = true WHERE system = {system} AND external_id = ANY ($1)"),
            delete: format!("DELETE FROM {t} AS t USING pg_temp.concord_batch b WHERE {CHOSEN} AND {key} = b.row_key RETURNING b.n"),
            answers: format!(
                "INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields, write_id, outcome, refused_field, reason, taken)
                 SELECT 'a', {system}, b.external_id, a.incarnation, {shape}, {stamp}, CASE WHEN {key} IS NOT NULL THEN {fields} END,
                        b.write_id, a.outcome::\"char\", a.field, a.reason, a.taken
                 FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::boolean[]) AS a(n, incarnation, outcome, field, reason, taken)
                 JOIN pg_temp.concord_batch b ON b.n = a.n LEFT JOIN {t} t ON {key} = b.row_key"
            ),
            made: format!(
                "INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields, write_id, outcome)
                 SELECT 'a', {system}, a.id, coalesce(i.incarnation, 0), {shape}, {stamp}, CASE WHEN {key} IS NOT NULL THEN {fields} END, a.write_id, 'd'
                 FROM unnest($1::text[], $2::text[]) AS a(id, write_id) LEFT JOIN {t} t ON {key} = {id} {again}",
                id = table.as_key("a.id"),
                again = again.replace("{id}", "a.id"),
            ),
            unmade: format!(
                "INSERT INTO concord.outbox (kind, system, write_id, outcome, refused_field, reason, taken)
                 SELECT 'a', {system}, a.write_id, a.outcome::\"char\", a.field, a.reason, a.taken
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[]) AS a(write_id, outcome, field, reason, taken)"
            ),
            replace: format!(
                "DELETE FROM concord.outbox WHERE number > $1 AND transaction = pg_current_xact_id() AND system = {system} AND external_id = ANY ($2) AND kind <> 'a'"
            ),
            unanswered: "UPDATE pg_temp.concord_batch SET row_key = NULL WHERE n = ANY ($1)",
            quiet: format!("SET LOCAL concord.writing = ''; SELECT pg_notify('{}', {system})", clients::postgres::CHANNEL),
            again: again.replace("{id}", "b.external_id"),
            system,
            quick: FxHashMap::default(),
            updates: FxHashMap::default(),
            inserts: FxHashMap::default(),
            attached,
        }
    }

    /// Updates those rows that are of the right incarnation and show what is expected, and with them the fence and the
    /// outbox; returns which these are, unless a trigger of the owner's changed their key. All set and expect exactly these slots (a bit for each).
    ///
    /// Binds arrays, an element a request: $1 n, $2 fence, $3 write id, $4 external id, $5 incarnation, then each slot that is
    /// set, then each that is expected.
    pub fn quick(&mut self, set: u64, expected: u64) -> Arc<str> {
        let Statements { attached, system, again, quick, .. } = self;
        let make = || {
            let Attached { table, shape, .. } = &*attached;
            let slots = |mask, letter| chosen(&table.columns, mask).map(move |(n, _)| format!("{letter}{n}"));
            let values: Vec<String> = slots(set, 's').chain(slots(expected, 'e')).collect();
            let types: String = (0..values.len()).map(|n| format!(", ${}::text[]", n + 6)).collect();
            let names: String = values.iter().map(|name| format!(", {name}")).collect();
            let shows: String =
                chosen(&table.columns, expected).map(|(n, column)| format!(" AND {}", column.shows("t", &format!("b.e{n}")))).collect();
            // What is written is told as it was stored: after the owner's triggers before the update. See [`UNDISTURBED`].
            format!(
                "WITH written AS (
                   UPDATE {t} AS t SET {sets}
                   FROM unnest($1::integer[], $2::uuid[], $3::text[], $4::text[], $5::bigint[]{types})
                        AS b(n, fence, write_id, external_id, incarnation{names}) {again}
                   WHERE {key} = {row_key} AND coalesce(i.incarnation, 0) = b.incarnation{shows}
                   RETURNING b.n, b.fence, b.write_id, b.external_id, b.incarnation, {stamp} AS stamp, {fields} AS fields, {key} = {row_key} AS same_key),
                 fenced AS (INSERT INTO concord.fence (id) SELECT w.fence FROM written w ORDER BY w.fence),
                 told AS (
                   INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields, write_id, outcome)
                   SELECT 'a', {system}, w.external_id, w.incarnation, {shape}, w.stamp, w.fields, w.write_id, 'd' FROM written w)
                 SELECT w.n FROM written w WHERE w.same_key",
                t = table.sql(),
                sets = assignments(table, set),
                key = table.key_of("t"),
                row_key = table.as_key("b.external_id"),
                stamp = table.stamp_of("t"),
                fields = table.fields_of("t"),
            )
            .into()
        };
        quick.entry((set, expected)).or_insert_with(make).clone()
    }

    /// Updates the rows of `$1`, which were compared before.
    pub fn update(&mut self, mask: u64) -> Arc<str> {
        let Statements { attached, updates, .. } = self;
        updates.entry(mask).or_insert_with(|| update(&attached.table, mask)).clone()
    }

    /// Inserts one row that sets exactly these slots, with its fence row ($1 n, $2 fence key, $3 the row's key where the table
    /// makes none), and returns its key.
    pub fn insert(&mut self, mask: u64) -> Arc<str> {
        let table = &self.attached.table;
        let make = || {
            let (mut names, mut values): (Vec<String>, Vec<String>) =
                chosen(&table.columns, mask).map(|(n, column)| (quote(&column.name), column.assigned(None, &format!("b.s{n}")))).unzip();
            if !table.key.has_default {
                names.push(quote(&table.key.name));
                values.push(table.as_key("$3"));
            }
            let (t, key, id) = (table.sql(), quote(&table.key.name), "::text");
            let fence = "WITH f AS (INSERT INTO concord.fence (id) VALUES ($2))";
            // $3 always has a place, so that every insert binds the same.
            if names.is_empty() {
                return format!("{fence}, b AS (SELECT $1::integer, $3::text) INSERT INTO {t} AS t DEFAULT VALUES RETURNING t.{key}{id}")
                    .into();
            }
            format!(
                "{fence} INSERT INTO {t} AS t ({}) SELECT {} FROM pg_temp.concord_batch b WHERE b.n = $1 AND ($3::text IS NULL OR true) RETURNING t.{key}{id}",
                names.join(", "),
                values.join(", ")
            )
            .into()
        };
        self.inserts.entry(mask).or_insert_with(make).clone()
    }
}

fn update(table: &Table, mask: u64) -> Arc<str> {
    let (t, key, sets) = (table.sql(), table.key_of("t"), assignments(table, mask));
    format!("UPDATE {t} AS t SET {sets} FROM pg_temp.concord_batch b WHERE {CHOSEN} AND {key} = b.row_key RETURNING b.n").into()
}

fn assignments(table: &Table, mask: u64) -> String {
    let each = chosen(&table.columns, mask)
        .map(|(n, column)| format!("{} = {}", quote(&column.name), column.assigned(Some("t"), &format!("b.s{n}"))));
    each.collect::<Vec<_>>().join(", ")
}

fn chosen(columns: &[Column], mask: u64) -> impl Iterator<Item = (usize, &Column)> {
    columns.iter().enumerate().filter(move |(n, _)| mask & (1 << n) != 0)
}
