//! What would still be done to the product's database is told before it is done.

use clients::postgres::{self, Drift, TableConfig, drift};
use sandbox::postgres::TestPostgres;
use schemas::System;
use sqlx::{Executor, PgPool};

async fn told(db: &PgPool, system: &System, table: &TableConfig) -> Drift {
    drift(&mut db.acquire().await.unwrap(), system, table).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_drift_is_found_and_attaching_mends_it() {
    let postgres = TestPostgres::start().unwrap();
    let db = PgPool::connect(&postgres.url()).await.unwrap();
    let (system, owned) = (System::new("product").unwrap(), TableConfig::owned());
    let all = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let fresh = Drift { migrations: all(&["0001 concord", "0002 chunks", "0003 json", "0004 golden"]), table: true, ..Drift::default() };
    assert_eq!(told(&db, &system, &owned).await, fresh);
    postgres::open(&db, &system, &owned).await.unwrap();
    assert_eq!(told(&db, &system, &owned).await, Drift::default());

    // A trigger dropped, one disabled, and the one that keeps updated_at.
    for sql in [
        "DROP TRIGGER concord_product_updated ON public.customers",
        "ALTER TABLE public.customers DISABLE TRIGGER concord_product_truncated",
        "DROP TRIGGER concord_touch ON public.customers",
    ] {
        db.execute(sql).await.unwrap();
    }
    let found = told(&db, &system, &owned).await;
    assert_eq!(found.triggers, ["concord_product_updated", "concord_product_truncated", "concord_touch"]);
    db.execute("ALTER TABLE public.customers ENABLE TRIGGER concord_product_truncated").await.unwrap();
    postgres::open(&db, &system, &owned).await.unwrap();
    assert!(told(&db, &system, &owned).await.is_none());

    // A function that another build left; and a mapping that is another one now.
    db.execute("CREATE OR REPLACE FUNCTION concord.product_deleted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        .await
        .unwrap();
    assert_eq!(told(&db, &system, &owned).await, Drift { functions: all(&["product_deleted"]), ..Drift::default() });
    postgres::open(&db, &system, &owned).await.unwrap();
    let mut fewer = owned.clone();
    fewer.columns.remove("phone");
    assert_eq!(told(&db, &system, &fewer).await.functions.len(), 6);
    assert!(told(&db, &system, &owned).await.is_none());

    // A newer build was here.
    db.execute("INSERT INTO concord.migrations VALUES (1000, 'later', now(), true, 'x', 0)").await.unwrap();
    assert_eq!(told(&db, &system, &owned).await.unknown, [1000]);

    // Somebody else's table that is not there is a mistake.
    let theirs = TableConfig { table: "public.accounts".into(), owned: false, ..owned };
    assert!(drift(&mut db.acquire().await.unwrap(), &system, &theirs).await.unwrap_err().to_string().contains("public.accounts"));
}
