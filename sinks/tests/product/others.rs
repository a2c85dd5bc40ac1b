//! Beside the table's other users: their triggers, their locks, their edits.

use crate::fixture::*;
use sqlx::{Connection, Executor, PgConnection};
use std::time::{Duration, Instant};

#[tokio::test]
async fn the_answer_shows_what_the_owners_triggers_made_of_the_write() {
    let mut product = Product::with(&format!(
        "{ACCOUNTS}
        CREATE FUNCTION lower_mail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.full_name = 'never' THEN RETURN NULL; END IF;
            IF NEW.full_name = 'raise' THEN RAISE EXCEPTION 'no such name'; END IF;
            NEW.mail := lower(NEW.mail); RETURN NEW; END $$;
        CREATE TRIGGER lower_mail BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION lower_mail();
        CREATE FUNCTION titled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE accounts SET full_name = 'Dr. ' || full_name WHERE id = NEW.id;
            UPDATE accounts SET logins = logins + 1, full_name = 'boss' WHERE id = 9;
            RETURN NULL; END $$;
        CREATE TRIGGER titled AFTER INSERT OR UPDATE OF mail ON accounts FOR EACH ROW WHEN (NEW.id <> 9) EXECUTE FUNCTION titled();"
    ))
    .await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (9, 'Nine', '9@x'), (20, 'Ada', 'ada@x')").await;
    product.run("UPDATE accounts SET full_name = 'Nine' WHERE id = 9").await;
    product.told().await;
    let told = product.apply(&[write(1, "20", &[("email", "ada@x")], &[("email", "ADA@Y")])]).await;
    assert_eq!(told, ["u 9.0 boss 9@x", "ad 20.0 Dr. Dr. Ada ada@y"], "others' rows stay, ours are one answer");
    let told = product.apply(&[create(3, 0, &[("name", "New"), ("email", "NEW@X")])]).await;
    assert_eq!(told, ["ad 1.0 Dr. New new@x"]);
    let mut told = product
        .apply(&[
            write(4, "20", &[], &[("name", "never")]),
            write(5, "9", &[], &[("name", "raise")]),
            create(6, 0, &[("name", "never")]),
            create(7, 0, &[("name", "raise")]),
        ])
        .await;
    told.sort();
    assert_eq!(told, ["ar -", "ar -", "ar 20.0 Dr. Dr. Ada ada@y", "ar 9.0 boss 9@x"]);
}

#[tokio::test]
async fn an_answer_shows_what_a_cascade_made_of_its_row() {
    let mut product = Product::with(
        "CREATE TABLE public.accounts (
            id bigserial PRIMARY KEY, full_name text REFERENCES public.accounts (mail) ON UPDATE CASCADE, mail text UNIQUE,
            phone text, city text, extra jsonb);
         INSERT INTO public.accounts (id, full_name, mail) VALUES (1, NULL, 'a@x'), (2, 'a@x', 'b@x');",
    )
    .await;
    let mut told = product
        .apply(&[write(1, "1", &[("email", "a@x")], &[("email", "a@y")]), write(2, "2", &[("email", "b@x")], &[("email", "b@y")])])
        .await;
    told.sort();
    assert_eq!(told, ["ad 1.0 - a@y", "ad 2.0 a@y b@y"]);
}

#[tokio::test]
async fn what_a_cascade_makes_of_other_rows_is_told_as_somebodys_edit() {
    let mut product =
        Product::with(&format!("{ACCOUNTS} ALTER TABLE accounts ADD FOREIGN KEY (city) REFERENCES accounts (mail) ON UPDATE CASCADE"))
            .await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (1, 'A', 'a@x'), (2, 'B', 'b@x'), (3, 'C', 'c@x')").await;
    product.run("UPDATE accounts SET city = 'a@x' WHERE id > 1").await;
    product.told().await;
    // The third row is of the batch: its answer shows it.
    let mut told = product.apply(&[write(1, "1", &[], &[("email", "a@y")]), write(2, "3", &[], &[("name", "Cy")])]).await;
    told.sort();
    assert_eq!(told, ["ad 1.0 A a@y", "ad 3.0 Cy c@x", "u 2.0 B b@x"]);
    assert_eq!(product.text("SELECT city FROM accounts WHERE id > 1").await, "(a@y) | (a@y)");
    // By then it is known that a write may change more than its row. A request that was answered before gets no answer: nothing shows
    // its row but what the trigger tells.
    let told = product.apply(&[write(3, "1", &[], &[("email", "a@z")]), write(2, "3", &[], &[("name", "Cy")])]).await;
    assert_eq!(told, ["u 2.0 B b@x", "u 3.0 Cy c@x", "ad 1.0 A a@z"]);
}

#[tokio::test]
async fn a_key_that_a_trigger_makes_of_our_write_is_told() {
    let mut product = Product::with(
        "CREATE TABLE public.accounts (id text PRIMARY KEY, full_name text, mail text, phone text, city text, extra jsonb);
         CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := lower(NEW.full_name); RETURN NEW; END $$;
         CREATE TRIGGER slug BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION slug();
         INSERT INTO accounts (full_name) VALUES ('Ada'), ('Bob');",
    )
    .await;
    let told = product.apply(&[write(1, "ada", &[], &[("phone", "1")])]).await;
    assert_eq!(told, ["ad ada.0 Ada -"]);
    let mut told = product.apply(&[write(2, "ada", &[], &[("name", "Eve")]), write(3, "bob", &[], &[("phone", "2")])]).await;
    told.sort();
    assert_eq!(told, ["ad ada.0", "ad bob.0 Bob -", "d ada.0", "i eve.0 Eve -"]);
}

#[tokio::test]
async fn what_a_deferred_trigger_does_after_our_answer_is_somebodys_edit() {
    let mut product = Product::with(&format!(
        "{ACCOUNTS}
        CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.full_name = 'bad' THEN RAISE EXCEPTION 'bad'; END IF;
            UPDATE accounts SET full_name = full_name || '!' WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER UPDATE OF mail, full_name ON accounts DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.full_name NOT LIKE '%!') EXECUTE FUNCTION late();"
    ))
    .await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (1, 'Ada', 'a@x'), (2, 'Bob', 'b@x')").await;
    product.told().await;
    let told = product.apply(&[write(1, "1", &[], &[("email", "a@y")])]).await;
    assert_eq!(told, ["ad 1.0 Ada a@y", "u 1.0 Ada! a@y"]);
    // Refused at COMMIT: run again with everything checked at once, so that only its row is refused.
    let mut told = product.apply(&[write(2, "1", &[], &[("name", "bad")]), write(3, "2", &[], &[("name", "Rob")])]).await;
    told.sort();
    assert_eq!(told, ["ad 2.0 Rob! b@x", "ar 1.0 Ada! a@y"]);
}

#[tokio::test]
async fn a_locked_row_waits_alone() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A'), (2, 'B'), (3, 'C')").await;
    product.told().await;
    let mut somebody = PgConnection::connect(&product.url).await.unwrap();
    let mut open = somebody.begin().await.unwrap();
    open.execute("UPDATE accounts SET full_name = 'mine' WHERE id = 1; INSERT INTO accounts (id, full_name) VALUES (4, 'D')")
        .await
        .unwrap();
    let jobs = [
        write(1, "1", &[("name", "A")], &[("name", "x")]),
        write(2, "2", &[("name", "B")], &[("name", "x")]),
        read("1"),
        read("3"),
        read("4"),
    ];
    let started = Instant::now();
    assert_eq!(product.try_apply(&jobs).await, [false, true, false, true, false]);
    assert!(started.elapsed() < Duration::from_secs(2), "nobody is waited for");
    let mut told = product.told().await;
    told.sort();
    assert_eq!(told, ["ad 2.0 x -", "r 3.0 C -"]);
    open.commit().await.unwrap();
    assert_eq!(product.told().await, ["u 1.0 mine -", "i 4.0 D -"]);
    assert_eq!(product.apply(&[jobs[0].clone(), jobs[4].clone()]).await, ["r 4.0 D -", "am 1.0 mine -"]);
}

#[tokio::test]
async fn a_row_that_foreign_keys_point_at_is_not_busy() {
    let mut product = Product::with(&format!("{ACCOUNTS} CREATE TABLE orders (account bigint REFERENCES accounts)")).await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await;
    product.told().await;
    let mut somebody = PgConnection::connect(&product.url).await.unwrap();
    let mut open = somebody.begin().await.unwrap();
    open.execute("INSERT INTO orders VALUES (1)").await.unwrap();
    assert_eq!(product.apply(&[write(1, "1", &[], &[("name", "B")])]).await, ["ad 1.0 B -"]);
}

#[tokio::test]
async fn a_unique_value_in_an_open_transaction_makes_its_row_wait_and_no_other() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A'), (2, 'B')").await;
    product.told().await;
    let mut somebody = PgConnection::connect(&product.url).await.unwrap();
    let mut open = somebody.begin().await.unwrap();
    open.execute("INSERT INTO accounts (id, full_name, mail) VALUES (3, 'C', 'c@x')").await.unwrap();
    let jobs = [write(1, "1", &[], &[("email", "c@x")]), write(2, "2", &[], &[("email", "d@x")])];
    assert_eq!(product.try_apply(&jobs).await, [false, true]);
    assert_eq!(product.told().await, ["ad 2.0 B d@x"]);
    open.rollback().await.unwrap();
    assert_eq!(product.apply(&jobs[..1]).await, ["ad 1.0 A c@x"]);
}

#[tokio::test]
async fn two_writers_and_the_tables_users_end_with_every_write_decided_once() {
    let product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) SELECT n, '0' FROM generate_series(1, 50) n").await;
    product.told().await;
    let jobs: Vec<_> = (1..=50).map(|n| write(n, &n.to_string(), &[], &[("phone", "set")])).collect();
    let zombie = async || {
        let mut writer = writer(&product.url, &product.attached).await;
        let mut todo: Vec<_> = jobs.iter().collect();
        while !todo.is_empty() {
            let finished = writer.apply(&todo).await.unwrap();
            todo = todo.into_iter().zip(finished).filter(|(_, f)| !f).map(|(j, _)| j).collect();
        }
    };
    let users = async || {
        let mut db = PgConnection::connect(&product.url).await.unwrap();
        for _ in 0..20 {
            db.execute("UPDATE accounts SET full_name = (full_name::int + 1)::text").await.unwrap();
        }
    };
    tokio::join!(zombie(), zombie(), users());
    let told = product.told().await;
    assert_eq!(told.iter().filter(|t| t.starts_with("ad")).count(), 50);
    assert_eq!(product.text("SELECT DISTINCT full_name, phone FROM accounts").await, "(20,set)");
    // The last that is told of a key is what it shows.
    for n in 1..=50 {
        let last = told.iter().rfind(|t| t.split(' ').nth(1) == Some(&format!("{n}.0"))).unwrap();
        assert!(last.contains(" 20 "), "{last}");
    }
}
