//! Protocol rules 6 to 8, one by one.

use crate::fixture::*;

#[tokio::test]
async fn a_write_sets_its_fields_and_its_answer_shows_the_row_as_it_left_it() {
    let mut product = Product::new().await;
    product.run(r#"INSERT INTO accounts VALUES (1, 'Ada', 'ada@x', null, 'Paris', '{"plan": "free", "seats": 3}', 7)"#).await;
    product.told().await;
    let expected = [("name", "Ada"), ("phone", ""), ("attributes.seats", "3"), ("attributes.none", "")];
    let set = [("name", "Ada L."), ("phone", "1\t\\2\n"), ("attributes.plan", "pro"), ("attributes.seats", "")];
    assert_eq!(product.apply(&[write(1, "1", &expected, &set)]).await, ["ad 1.0 Ada L. ada@x"]);
    assert_eq!(
        product
            .text("SELECT full_name, mail, replace(replace(phone, chr(9), '<t>'), chr(10), '<n>'), city, extra, logins FROM accounts")
            .await,
        r#"("Ada L.",ada@x,"1<t>\\2<n>",Paris,"{""plan"": ""pro""}",7)"#
    );
}

#[tokio::test]
async fn a_record_that_shows_something_else_is_not_written() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts VALUES (1, 'Ada', 'ada@x'), (2, 'Bob', 'bob@x')").await;
    product.told().await;
    let jobs = [
        write(1, "1", &[("name", "Eve")], &[("name", "Ada L.")]),
        write(2, "2", &[("name", "Bob"), ("email", "bob@x")], &[("name", "Rob")]),
    ];
    let mut told = product.apply(&jobs).await;
    told.sort();
    assert_eq!(told, ["ad 2.0 Rob bob@x", "am 1.0 Ada ada@x"]);
}

#[tokio::test]
async fn a_write_that_ran_is_never_run_again() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await;
    product.told().await;
    let a_to_b = write(1, "1", &[("name", "A")], &[("name", "B")]);
    assert_eq!(product.apply(std::slice::from_ref(&a_to_b)).await, ["ad 1.0 B -"]);
    assert_eq!(product.apply(&[write(2, "1", &[("name", "B")], &[("name", "A")])]).await, ["ad 1.0 A -"]);
    // A crash, or a zombie: the first comes again, and the row shows again what it expects.
    assert_eq!(product.apply(&[a_to_b]).await, [""; 0]);
    assert_eq!(product.text("SELECT full_name FROM accounts").await, "(A)");
}

#[tokio::test]
async fn another_incarnation_of_the_key_is_left_alone() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A'); DELETE FROM accounts; INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await;
    product.told().await;
    assert_eq!(product.apply(&[write_to(1, "1", 0, &[("name", "A")], &[("name", "B")])]).await, [""; 0]);
    assert_eq!(product.apply(&[delete(2, "1", 0)]).await, [""; 0]);
    assert_eq!(product.apply(&[write_to(3, "1", 1, &[("name", "A")], &[("name", "B")])]).await, ["ad 1.1 B -"]);
}

#[tokio::test]
async fn a_missing_row_is_told_of_once_unless_its_delete_was_noticed() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A'); DELETE FROM accounts").await;
    assert_eq!(product.told().await, ["i 1.0 A -", "d 1.0"]);
    assert_eq!(product.apply(&[write(1, "1", &[], &[("name", "B")])]).await, [""; 0]);
    assert_eq!(product.apply(&[write(2, "5", &[], &[("name", "B")]), delete(3, "no number", 0)]).await.len(), 2);
    assert_eq!(product.apply(&[write(4, "5", &[], &[("name", "B")])]).await, [""; 0], "it was told before");
}

#[tokio::test]
async fn a_delete_deletes_and_its_answer_stands_for_it() {
    let mut product = Product::with(&format!("{ACCOUNTS} CREATE TABLE orders (account bigint REFERENCES accounts)")).await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A'), (2, 'B'); INSERT INTO orders VALUES (2)").await;
    product.told().await;
    let mut told = product.apply(&[delete(1, "1", 0), delete(2, "2", 0)]).await;
    told.sort();
    assert_eq!(told, ["ad 1.0", "ar 2.0 B -"], "what others point at is refused, with the record as it is");
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await;
    assert_eq!(product.told().await, ["i 1.1 A -"]);
}

#[tokio::test]
async fn a_constraint_refuses_its_row_alone_and_names_the_field() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name, mail) SELECT n, 'P' || n, n || '@x' FROM generate_series(1, 40) n").await;
    product.told().await;
    let mut jobs: Vec<_> = (1..=40).map(|n| write(n, &n.to_string(), &[], &[("name", "new"), ("email", &format!("{n}@y"))])).collect();
    jobs[6] = write(7, "7", &[], &[("name", "new"), ("email", "1@y")]);
    jobs[7] = write(8, "8", &[], &[("name", "a name that is longer than twenty")]);
    jobs[8] = write(9, "9", &[], &[("name", "")]);
    jobs[9] = write(10, "10", &[], &[("phone", "none"), ("email", "10@y")]);
    jobs[10] = write(11, "11", &[], &[("phone", "nu\0l")]);
    let mut told = product.apply(&jobs).await;
    told.sort();
    let refused: Vec<&str> = told.iter().filter(|t| t.starts_with("ar")).map(String::as_str).collect();
    assert_eq!(refused, ["ar 10.0 P10 10@x !phone", "ar 11.0 P11 11@x", "ar 7.0 P7 7@x !email taken", "ar 8.0 P8 8@x"]);
    // An empty name where null is not allowed is the empty string.
    assert!(told.contains(&"ad 9.0  9@x".to_string()), "{told:?}");
    assert_eq!(told.iter().filter(|t| t.starts_with("ad")).count(), 36);
}

#[tokio::test]
async fn a_value_that_another_write_of_the_batch_frees_is_free() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (1, 'A', 'a@x'), (2, 'B', 'b@x'), (3, 'C', 'c@x')").await;
    product.told().await;
    let jobs = [
        write(1, "1", &[("email", "a@x")], &[("email", "b@x")]),
        write(2, "2", &[("email", "b@x")], &[("email", "c@x")]),
        write(3, "3", &[("email", "c@x")], &[("email", "d@x")]),
    ];
    let mut told = product.apply(&jobs).await;
    told.sort();
    assert_eq!(told, ["ad 1.0 A b@x", "ad 2.0 B c@x", "ad 3.0 C d@x"]);
}

#[tokio::test]
async fn unique_values_are_swapped_where_the_constraint_can_wait() {
    let table = ACCOUNTS.replace("mail text UNIQUE", "mail text UNIQUE DEFERRABLE INITIALLY DEFERRED");
    let mut product = Product::with(&table).await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (1, 'A', 'a@x'), (2, 'B', 'b@x'), (3, 'C', 'c@x')").await;
    product.told().await;
    let swap = [write(1, "1", &[], &[("email", "b@x")]), write(2, "2", &[], &[("email", "a@x")])];
    let mut told = product.apply(&swap).await;
    told.sort();
    assert_eq!(told, ["ad 1.0 A b@x", "ad 2.0 B a@x"]);
    // What fails only at COMMIT fails for its row.
    let jobs = [write(3, "1", &[], &[("email", "c@x")]), write(4, "2", &[], &[("name", "Bob")])];
    let mut told = product.apply(&jobs).await;
    told.sort();
    assert_eq!(told, ["ad 2.0 Bob a@x", "ar 1.0 A b@x !email taken"]);
    // Somebody's swap in one statement.
    product.run("UPDATE accounts SET mail = CASE id WHEN 1 THEN 'a@x' ELSE 'b@x' END WHERE id < 3").await;
    let mut told = product.told().await;
    told.sort();
    assert_eq!(told, ["u 1.0 A a@x", "u 2.0 Bob b@x"]);
}

#[tokio::test]
async fn a_create_is_made_once_and_carries_its_fence_row() {
    let mut product = Product::new().await;
    let ada = create(1, 0, &[("name", "Ada"), ("email", "ada@x"), ("attributes.plan", "pro")]);
    assert_eq!(product.apply(std::slice::from_ref(&ada)).await, ["ad 1.0 Ada ada@x"]);
    assert_eq!(product.apply(&[create(1, 1, &[("name", "Ada L.")])]).await, [""; 0], "the same key, another body");
    product.run("DELETE FROM accounts").await;
    product.told().await;
    assert_eq!(product.apply(&[ada]).await, [""; 0], "whether or not the row still exists");
    assert_eq!(product.text("SELECT count(*) FROM accounts").await, "(0)");
}

#[tokio::test]
async fn a_create_that_is_held_or_refused_leaves_no_fence_row() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name, mail) VALUES (10, 'A', 'a@x'), (11, 'B', ' B@X')").await;
    product.told().await;
    let jobs = [
        create(1, 0, &[("name", "A"), ("email", "a@x")]),
        create(2, 0, &[("name", "B"), ("email", "b@x")]),
        create(3, 0, &[("name", "C"), ("phone", "none")]),
        create(4, 0, &[("email", "d@x")]),
        create(5, 0, &[("name", "E"), ("email", "e@x")]),
    ];
    let mut told = product.apply(&jobs).await;
    told.sort();
    let made = told.remove(0);
    assert!(made.starts_with("ad ") && made.ends_with(".0 E e@x"), "{made}");
    // The last: no name, where there must be one, and the request sets none that could be left out.
    assert_eq!(told, ["ah -", "ah -", "ar -", "ar - !phone"]);
    product.run("UPDATE accounts SET mail = null").await;
    product.told().await;
    let told = product.apply(&jobs[..2]).await;
    assert_eq!(told.iter().filter(|t| t.starts_with("ad")).count(), 2, "{told:?}");
}

#[tokio::test]
async fn a_table_without_keys_of_its_own_gets_uuids() {
    let table = ACCOUNTS.replace("id bigserial", "id uuid");
    let mut product = Product::with(&table).await;
    let told = product.apply(&[create(1, 0, &[("name", "Ada")])]).await;
    assert_eq!(told.len(), 1);
    let id = told[0].split(['.', ' ']).nth(1).unwrap().to_string();
    assert_eq!(product.apply(&[write(1, &id, &[("name", "Ada")], &[("name", "Eve")])]).await, [format!("ad {id}.0 Eve -")]);
}

#[tokio::test]
async fn a_read_shows_the_record_or_that_it_is_gone() {
    let mut product = Product::new().await;
    product.run("INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await;
    product.told().await;
    let mut told = product.apply(&[read("1"), read("2"), read("x")]).await;
    told.sort();
    assert_eq!(told, ["r 1.0 A -", "r 2.0", "r x.0"]);
}
