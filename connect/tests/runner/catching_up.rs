//! Creates on a real log, while the source catches up (rule 7).

use super::*;
use async_trait::async_trait;
use connect::{CatchUp, Reply, Source};
use schemas::Create;

/// The vendor, as a source that catches up.
struct CatchingUp {
    vendor: Arc<Vendor>,
    catch_up: CatchUp,
}

#[async_trait]
impl Source for CatchingUp {
    async fn read(&self, id: &ExternalId) -> Reply {
        self.vendor.read(id).await
    }

    fn catch_up(&self) -> Option<&CatchUp> {
        Some(&self.catch_up)
    }
}

async fn run(world: &World, source: &Arc<CatchingUp>) -> Running {
    let runner =
        Runner::new(world.log.clone().into(), &world.registry, world.options(), source.clone(), Some(world.vendor.clone())).await.unwrap();
    let (stop, health) = (CancellationToken::new(), runner.health());
    let token = stop.clone();
    let task = tokio::spawn(async move { runner.run(token).await.unwrap() });
    Running { stop, task, health }
}

fn create(number: u64) -> Action {
    let id = WriteId::create(ada(), &system(), 0, number);
    let set = [(Field::Name, Value::from("Ada"))].into_iter().collect();
    Action::Create(Create { key: id.key(), id, customer: ada(), set })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_waits_until_the_reads_of_the_catch_up_are_answered_also_behind_it() {
    let world = World::new();
    let source = Arc::new(CatchingUp { vendor: world.vendor.clone(), catch_up: CatchUp::new(&world.requests()).await.unwrap() });
    let customer = ada().to_string();
    // Decided before the start; then, in its partition and elsewhere, what the source has noticed.
    world.ask(&customer, create(0)).await;
    for n in 0..20 {
        world.vendor.person_sets(&format!("cus_{n}"), "Ann");
        world.notice(&format!("cus_{n}"), "evt").await;
    }
    world.vendor.close_gate();
    let running = run(&world, &source).await;
    let catching_up = tokio::spawn({
        let source = source.clone();
        async move { source.catch_up.noticed(None).await.unwrap() }
    });
    eventually("reads are under way", || world.vendor.calls_of("get") > 0).await;
    assert!(!source.catch_up.is_through() && world.results(&customer).is_empty());
    world.vendor.open_gate();
    tokio::time::timeout(Duration::from_secs(10), catching_up).await.expect("a create that waits does not hold it up").unwrap();
    assert_eq!(outcome(&world.until(&customer, 1).await[0]), Some(Outcome::Held));
    assert_eq!(world.vendor.calls_of("create"), 0);
    for n in 0..20 {
        assert_eq!(world.results(&format!("cus_{n}")).len(), 1, "each read was answered before");
    }

    // Asked for again.
    world.ask(&customer, create(0)).await;
    world.until("new_1", 1).await;
    assert_eq!(world.vendor.calls_of("create"), 1);
    running.stop().await;

    // A runner that begins after the catch-up makes records, but not those asked for before it began.
    let again = run(&world, &source).await;
    let other = schemas::CustomerId::minted(&system(), &ExternalId::new("43"), 0);
    eventually("all is committed", || world.all_committed()).await;
    let id = WriteId::create(other, &system(), 0, 0);
    let set = [(Field::Name, Value::from("Bob"))].into_iter().collect();
    let create = Create { key: id.key(), id, customer: other, set };
    let (customer, mut asked) = (other.to_string(), 0);
    while world.results("new_2").is_empty() {
        // One that was asked for before it began is held; then it is asked for again.
        world.ask(&customer, Action::Create(create.clone())).await;
        asked += 1;
        eventually("it is answered", || world.results(&customer).len() == asked || !world.results("new_2").is_empty()).await;
    }
    again.stop().await;
}
