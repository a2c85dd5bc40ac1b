//! What the triggers notice of an existing table: other column names, a bigserial key, an owner with triggers of his own.

use clients::postgres::{self, TableConfig};
use sandbox::postgres::TestPostgres;
use schemas::System;
use sqlx::{AssertSqlSafe, Executor, PgPool, Row};

const ACCOUNTS: &str = "
    CREATE TABLE public.accounts (
        id bigserial PRIMARY KEY, full_name varchar(80) NOT NULL, mail text UNIQUE, street text, city text,
        plan text, extra jsonb, logins int NOT NULL DEFAULT 0, changed_at timestamptz NOT NULL DEFAULT now());";

fn accounts() -> TableConfig {
    let columns = [
        ("name", "full_name"),
        ("email", "mail"),
        ("address.line1", "street"),
        ("address.city", "city"),
        ("attributes.plan", "plan"),
        ("attributes", "extra"),
        ("updated_at", "changed_at"),
    ];
    TableConfig {
        table: "public.accounts".into(),
        key: "id".into(),
        columns: columns.iter().map(|(f, c)| (f.to_string(), c.to_string())).collect(),
        owned: false,
    }
}

struct Product {
    db: PgPool,
    _postgres: TestPostgres,
}

impl Product {
    async fn new() -> Self {
        Self::with(ACCOUNTS).await
    }

    async fn with(owners: &str) -> Self {
        let postgres = TestPostgres::start().unwrap();
        let db = PgPool::connect(&postgres.url()).await.unwrap();
        let product = Product { db, _postgres: postgres };
        product.run(owners).await;
        postgres::migrate(&product.db).await.unwrap();
        let table = postgres::prepare(&product.db, &accounts()).await.unwrap();
        postgres::attach(&product.db, &System::new("product").unwrap(), table).await.unwrap();
        product
    }

    async fn run(&self, sql: &str) {
        self.db.execute(AssertSqlSafe(sql.to_string())).await.unwrap();
    }

    /// The outbox's rows in order, as `kind id.incarnation name | changed name`, and empties it. Rows that share a number are
    /// in order of key.
    async fn noticed(&self) -> Vec<String> {
        let rows = sqlx::query(
            "WITH t AS (DELETE FROM concord.outbox RETURNING *)
             SELECT t.kind, coalesce(t.external_id, x.id) AS external_id, coalesce(x.incarnation, t.incarnation) AS incarnation,
                    CASE WHEN x.id IS NULL THEN t.fields ELSE ARRAY(SELECT unnest(t.fields[x.place:x.place])) END AS fields,
                    CASE WHEN x.id IS NULL THEN t.previous ELSE ARRAY(SELECT unnest(t.previous[x.place:x.place])) END AS previous
             FROM t LEFT JOIN LATERAL unnest(t.ids, t.incarnations) WITH ORDINALITY AS x(id, incarnation, place) ON true
             ORDER BY t.number, length(x.id), x.id",
        )
        .fetch_all(&self.db)
        .await;
        let rows = rows.unwrap();
        rows.iter()
            .map(|row| {
                let kind: i8 = row.get("kind");
                let (id, incarnation): (Option<String>, i64) = (row.get("external_id"), row.get("incarnation"));
                let fields: Option<Vec<Option<String>>> = row.get("fields");
                let previous: Option<Vec<Option<String>>> = row.get("previous");
                let mut text = format!("{} {}.{incarnation}", kind as u8 as char, id.unwrap_or_default());
                if let Some(name) = fields.map(|f| f[NAME].clone().unwrap_or_default()) {
                    text.push_str(&format!(" {name}"));
                }
                if let Some(was) = previous.and_then(|p| p[NAME].clone()) {
                    text.push_str(&format!(" (was {was})"));
                }
                text
            })
            .collect()
    }
}

/// Where the name is in the shape: the first in order of slot.
const NAME: usize = 0;

#[tokio::test]
async fn every_change_of_a_mapped_column_is_noticed_once_with_what_it_was() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts (full_name, mail) VALUES ('Ada', 'ada@x'), ('Bob', 'bob@x')").await;
    assert_eq!(product.noticed().await, ["i 1.0 Ada", "i 2.0 Bob"]);
    product.run("UPDATE accounts SET full_name = full_name || '!'").await;
    assert_eq!(product.noticed().await, ["u 1.0 Ada! (was Ada)", "u 2.0 Bob! (was Bob)"]);
    product.run("UPDATE accounts SET logins = logins + 1").await;
    product.run("UPDATE accounts SET full_name = 'x' WHERE false").await;
    assert_eq!(product.noticed().await, [""; 0], "unmapped columns and no rows are no news");
    product.run("DELETE FROM accounts WHERE id = 1").await;
    assert_eq!(product.noticed().await, ["d 1.0"]);
}

#[tokio::test]
async fn a_key_that_comes_back_has_a_new_incarnation() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts VALUES (7, 'Ada'); DELETE FROM accounts; INSERT INTO accounts VALUES (7, 'Eve')").await;
    product.run("UPDATE accounts SET full_name = 'Eve!'; DELETE FROM accounts; INSERT INTO accounts VALUES (7, 'Joe')").await;
    assert_eq!(product.noticed().await, ["i 7.0 Ada", "d 7.0", "i 7.1 Eve", "u 7.1 Eve! (was Eve)", "d 7.1", "i 7.2 Joe"]);
}

#[tokio::test]
async fn a_changed_key_is_a_delete_and_an_insert() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts VALUES (1, 'Ada'), (2, 'Bob')").await;
    product.noticed().await;
    product.run("UPDATE accounts SET id = 9, full_name = 'Ada!' WHERE id = 1").await;
    assert_eq!(product.noticed().await, ["d 1.0", "i 9.0 Ada!"]);
    product.run("UPDATE accounts SET id = CASE id WHEN 2 THEN 1 ELSE 10 END, full_name = full_name || '?'").await;
    let mut noticed = product.noticed().await;
    noticed.sort();
    assert_eq!(noticed, ["d 2.0", "d 9.0", "i 1.1 Bob?", "i 10.0 Ada!?"]);
}

#[tokio::test]
async fn truncate_asks_for_a_sweep_and_an_unseen_delete_is_made_up_for() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts VALUES (1, 'Ada'), (2, 'Bob')").await;
    product.noticed().await;
    product.run("TRUNCATE accounts").await;
    assert_eq!(product.noticed().await, ["s .0"]);
    product.run("INSERT INTO accounts VALUES (2, 'Eve')").await;
    assert_eq!(product.noticed().await, ["d 2.0", "i 2.1 Eve"]);
}

#[tokio::test]
async fn a_bulk_update_tells_of_each_changed_row_once_in_a_few_outbox_rows() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts (full_name) SELECT 'P' || n FROM generate_series(1, 500) n").await;
    product.run("DELETE FROM accounts WHERE id = 7; INSERT INTO accounts VALUES (7, 'P7')").await;
    product.noticed().await;
    product
        .run("UPDATE accounts SET logins = logins + 1, full_name = CASE WHEN id > 100 THEN full_name || '!' ELSE full_name END, plan = CASE id WHEN 7 THEN 'pro' END")
        .await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM concord.outbox").fetch_one(&product.db).await.unwrap();
    assert!((13..40).contains(&count), "401 changed rows in {count} rows of the outbox");
    let mut noticed = product.noticed().await;
    noticed.sort();
    let mut expected: Vec<String> = (101..=500).map(|n| format!("u {n}.0 P{n}! (was P{n})")).collect();
    expected.push("u 7.1 P7".into());
    expected.sort();
    assert_eq!(noticed, expected);
}

#[tokio::test]
async fn one_statement_may_change_keys_and_columns_and_neither() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts SELECT n, 'P' || n FROM generate_series(1, 100) n").await;
    product.noticed().await;
    product
        .run("UPDATE accounts SET id = CASE WHEN id <= 40 THEN id + 1000 ELSE id END, full_name = CASE WHEN id % 2 = 0 THEN 'Q' || id ELSE full_name END")
        .await;
    let mut noticed = product.noticed().await;
    noticed.sort();
    let name = |n: u32| if n.is_multiple_of(2) { format!("Q{n}") } else { format!("P{n}") };
    let moved = (1..=40).flat_map(|n| [format!("d {n}.0"), format!("i {}.0 {}", n + 1000, name(n))]);
    let changed = (42..=100).step_by(2).map(|n| format!("u {n}.0 Q{n} (was P{n})"));
    let mut expected: Vec<String> = moved.chain(changed).collect();
    expected.sort();
    assert_eq!(noticed, expected);
}

#[tokio::test]
async fn copy_upserts_and_cascades_are_noticed_too() {
    let product = Product::with(&format!(
        "{ACCOUNTS} CREATE TABLE owners (id bigint PRIMARY KEY); ALTER TABLE accounts ADD owner bigint REFERENCES owners ON DELETE CASCADE;"
    ))
    .await;
    product.run("INSERT INTO owners VALUES (1)").await;
    let mut one = product.db.acquire().await.unwrap();
    let mut copy = one.copy_in_raw("COPY accounts (id, full_name, owner) FROM STDIN").await.unwrap();
    copy.send(&b"1\tAda\t1\n2\tBob\t\\N\n"[..]).await.unwrap();
    copy.finish().await.unwrap();
    drop(one);
    assert_eq!(product.noticed().await, ["i 1.0 Ada", "i 2.0 Bob"]);
    product
        .run("INSERT INTO accounts (id, full_name) VALUES (2, 'Bobby'), (3, 'Cy') ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name")
        .await;
    let mut noticed = product.noticed().await;
    noticed.sort();
    assert_eq!(noticed, ["i 3.0 Cy", "u 2.0 Bobby (was Bob)"]);
    product.run("DELETE FROM owners").await;
    assert_eq!(product.noticed().await, ["d 1.0"]);
}

#[tokio::test]
async fn the_last_row_noticed_of_a_key_is_what_the_owners_triggers_made_of_it() {
    let product = Product::with(&format!(
        "{ACCOUNTS}
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.mail := lower(NEW.mail); RETURN NEW; END $$;
        CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION shout();
        CREATE FUNCTION greet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE accounts SET full_name = 'Dr. ' || full_name WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER greet AFTER INSERT OR UPDATE OF mail ON accounts FOR EACH ROW EXECUTE FUNCTION greet();
        CREATE FUNCTION drop_bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            DELETE FROM accounts WHERE id = NEW.id AND full_name LIKE '%bad%'; RETURN NULL; END $$;
        CREATE TRIGGER zz AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION drop_bad();"
    ))
    .await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (1, 'Ada', 'ADA@X')").await;
    let noticed = product.noticed().await;
    assert_eq!(noticed.last().unwrap(), "i 1.0 Dr. Ada", "{noticed:?}");
    product.run("UPDATE accounts SET full_name = 'Lady', mail = 'L@X' WHERE id = 1").await;
    let noticed = product.noticed().await;
    assert_eq!(noticed.last().unwrap(), "u 1.0 Dr. Lady (was Dr. Ada)", "{noticed:?}");
    product.run("INSERT INTO accounts (id, full_name) VALUES (2, 'bad')").await;
    let noticed = product.noticed().await;
    assert_eq!(noticed.last().unwrap(), "d 2.0", "{noticed:?}");
    // A later statement of the same transaction is not nested in anything.
    product.run("UPDATE accounts SET mail = 'a@x' WHERE id = 1; UPDATE accounts SET full_name = 'Ada' WHERE id = 1").await;
    let noticed = product.noticed().await;
    assert_eq!(noticed.last().unwrap(), "u 1.0 Ada (was Dr. Dr. Lady)", "{noticed:?}");
}

#[tokio::test]
async fn a_statement_that_fires_several_triggers_is_told_of_as_it_was_left() {
    let product = Product::with(&format!(
        "{ACCOUNTS}
        CREATE FUNCTION greet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE accounts SET full_name = 'Dr. ' || full_name WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER greet AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION greet();"
    ))
    .await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'Ada') ON CONFLICT (id) DO UPDATE SET full_name = 'no'").await;
    let noticed = product.noticed().await;
    assert_eq!(noticed.last().unwrap(), "i 1.0 Dr. Ada", "{noticed:?}");
    // A row is deleted, and its key used again by the same statement.
    let again = "WITH d AS (DELETE FROM accounts WHERE id = 1 RETURNING id) INSERT INTO accounts (id, full_name) SELECT id, 'Eve' FROM d";
    product.run(again).await;
    let noticed = product.noticed().await;
    assert_eq!(noticed.last().unwrap(), "i 1.1 Dr. Eve", "{noticed:?}");
    let live: bool = sqlx::query_scalar("SELECT live FROM concord.incarnations").fetch_one(&product.db).await.unwrap();
    assert!(live);
}

#[tokio::test]
async fn values_have_one_spelling_whatever_the_writers_session_says_and_strange_ones_stop_nobody() {
    let owners = format!(
        "{ACCOUNTS} ALTER TABLE accounts ALTER plan TYPE timestamptz USING NULL, ALTER street TYPE interval USING NULL, ALTER extra TYPE json"
    );
    let product = Product::with(&owners).await;
    product
        .run(
            "SET timezone = 'Europe/Berlin'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601';
             INSERT INTO accounts (full_name, plan, street, changed_at) VALUES ('Ada', '2026-01-01T00:00:00Z', '1 day', '-infinity');
             UPDATE accounts SET full_name = 'Eve'; RESET timezone; RESET datestyle; RESET intervalstyle",
        )
        .await;
    let told: Vec<(String, bool)> =
        sqlx::query_as("SELECT array_to_string(fields, ','), stamp IS NULL AND stamps[1] IS NULL FROM concord.outbox ORDER BY number")
            .fetch_all(&product.db)
            .await
            .unwrap();
    assert_eq!(told, [("Ada,2026-01-01 00:00:00+00,1 day".into(), true), ("Eve,2026-01-01 00:00:00+00,1 day".into(), true)]);
    product.noticed().await;
    product.run(r#"UPDATE accounts SET extra = '{"a":"\u0000"}'; UPDATE accounts SET extra = '{"b" :1}'"#).await;
    let told: Vec<String> =
        sqlx::query_scalar("SELECT array_to_string(fields, ' ') FROM concord.outbox ORDER BY number").fetch_all(&product.db).await.unwrap();
    assert!(told[0].contains(r#""{\"a\":\"\\u0000\"}""#) && told[1].contains(r#"{"b": 1}"#), "{told:?}");
}

#[tokio::test]
async fn nobody_makes_the_triggers_run_code_or_look_away() {
    let product = Product::new().await;
    product
        .run(
            "INSERT INTO accounts (full_name) VALUES ('Ada');
             CREATE ROLE app LOGIN; GRANT SELECT, UPDATE ON accounts TO app; GRANT CREATE ON SCHEMA public TO app",
        )
        .await;
    product.noticed().await;
    let as_app = |setup: &str, name: &str| {
        format!(
            "SET ROLE app; {setup}; SET concord.writing = 'product'; UPDATE accounts SET full_name = '{name}';
             DISCARD TEMP; RESET concord.writing; RESET ROLE"
        )
    };
    product.run(&as_app("CREATE TEMP TABLE concord_batch (row_key bigint)", "Bob")).await;
    assert_eq!(product.noticed().await, ["u 1.0 Bob (was Ada)"]);
    let view = "CREATE FUNCTION evil() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run by %', current_user; END $$;
                CREATE TEMP VIEW concord_batch AS SELECT public.evil() AS row_key; GRANT SELECT ON concord_batch TO PUBLIC";
    product.run(&as_app(view, "Cy")).await;
    assert_eq!(product.noticed().await, ["u 1.0 Cy (was Bob)"]);
}

#[tokio::test]
async fn a_row_that_a_cascade_comes_back_to_is_told_of_as_it_was_left() {
    let product =
        Product::with(&format!("{ACCOUNTS} ALTER TABLE accounts ADD plan_of text REFERENCES accounts (mail) ON UPDATE CASCADE;")).await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (1, 'Ada', 'a@x'), (2, 'Bob', 'b@x'), (3, 'Cy', 'c@x')").await;
    product.run("UPDATE accounts SET plan_of = 'a@x'").await;
    // The cascade of the one row's e-mail changes the other two, which the statement changes as well.
    product.run("CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.plan := NEW.plan_of; RETURN NEW; END $$").await;
    product.run("CREATE TRIGGER mark BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION mark()").await;
    product.noticed().await;
    product.run("UPDATE accounts SET full_name = full_name || '!', mail = 'n' || mail").await;
    let rows = "SELECT DISTINCT ON (id) id || ' ' || array_to_string(fields, ',', '-') FROM (
                    SELECT number, coalesce(external_id, x.id) AS id, CASE WHEN x.id IS NULL THEN fields ELSE ARRAY(SELECT unnest(fields[x.place:x.place])) END AS fields
                    FROM concord.outbox LEFT JOIN LATERAL unnest(ids) WITH ORDINALITY AS x(id, place) ON true) r ORDER BY id, number DESC";
    let last: Vec<String> = sqlx::query_scalar(rows).fetch_all(&product.db).await.unwrap();
    let shown = "SELECT a.id || ' ' || concat_ws(',', full_name, mail, plan, '-', '-', '-') FROM accounts a ORDER BY id";
    let shown: Vec<String> = sqlx::query_scalar(shown).fetch_all(&product.db).await.unwrap();
    assert_eq!(last, shown);
    assert_eq!(shown[1], "2 Bob!,nb@x,na@x,-,-,-");
}

#[tokio::test]
async fn a_table_that_cannot_be_the_products_is_named_with_its_column() {
    let postgres = TestPostgres::start().unwrap();
    let db = PgPool::connect(&postgres.url()).await.unwrap();
    db.execute(
        "CREATE TABLE accounts (id bigint, full_name text, mail text, street text, city text, plan text, extra text, changed_at text)",
    )
    .await
    .unwrap();
    let refused = async |config: &TableConfig| postgres::prepare(&db, config).await.unwrap_err().to_string();
    assert!(refused(&accounts()).await.contains("extra must be json"));
    db.execute("ALTER TABLE accounts ALTER extra TYPE json USING NULL").await.unwrap();
    assert!(refused(&accounts()).await.contains("changed_at is no time"));
    db.execute("ALTER TABLE accounts ALTER changed_at TYPE date USING NULL").await.unwrap();
    assert!(refused(&accounts()).await.contains("id cannot be the key"));
    db.execute("ALTER TABLE accounts ADD PRIMARY KEY (id)").await.unwrap();
    postgres::prepare(&db, &accounts()).await.unwrap();
    let missing = TableConfig { table: "nowhere.accounts".into(), ..accounts() };
    assert!(refused(&missing).await.contains("nowhere.accounts does not exist"));
}

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_without_holding_a_writer_up() {
    let product = Product::new().await;
    // As the first version left it.
    product
        .run(
            "DROP SEQUENCE concord.outbox_row; ALTER TABLE concord.outbox DROP ids, DROP incarnations, DROP stamps;
             DELETE FROM concord.migrations WHERE version = 2",
        )
        .await;
    product.run("INSERT INTO concord.outbox (kind, system, external_id, shape, fields) VALUES ('u', 'product', '1', 1, '{Ada}')").await;
    let mut open = product.db.begin().await.unwrap();
    open.execute("INSERT INTO concord.outbox (kind, system, external_id, shape, fields) VALUES ('u', 'product', '2', 1, '{Bob}')")
        .await
        .unwrap();
    let mut waits = product.db.acquire().await.unwrap();
    let writes = async {
        // Until the migration has been seen to wait; then another writer must get through, though it waits still.
        let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'concord.outbox'::regclass AND NOT granted)";
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *waits).await.unwrap() {}
        waits
            .execute("SET statement_timeout = '20s'; INSERT INTO concord.outbox (kind, system, external_id, shape, fields) VALUES ('u', 'product', '3', 1, '{Cy}')")
            .await
            .unwrap();
        open.commit().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(postgres::migrate(&product.db), writes);
    migrated.unwrap();
    product.run("UPDATE concord.outbox SET previous = '{NULL}'").await;
    assert_eq!(product.noticed().await, ["u 1.0 Ada", "u 2.0 Bob", "u 3.0 Cy"]);
}

#[tokio::test]
async fn migrating_and_attaching_again_changes_nothing_and_the_own_table_is_made() {
    let postgres = TestPostgres::start().unwrap();
    let db = PgPool::connect(&postgres.url()).await.unwrap();
    let system = System::new("product").unwrap();
    let both = async || {
        postgres::migrate(&db).await.unwrap();
        let table = postgres::prepare(&db, &TableConfig::owned()).await.unwrap();
        postgres::attach(&db, &system, table).await.unwrap()
    };
    let (a, b) = tokio::join!(both(), both());
    assert_eq!(a.shape, b.shape);
    db.execute("INSERT INTO public.customers (name) VALUES ('Ada')").await.unwrap();
    assert_eq!(both().await.shape, a.shape);
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM concord.outbox").fetch_one(&db).await.unwrap();
    assert_eq!(count, 1);
}
