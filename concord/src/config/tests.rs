use super::*;

fn check(text: &str, env: Env) -> Result<Config, ConfigError> {
    let file = toml::from_str(text).map_err(|e| ConfigError { from: "test".into(), mistakes: vec![e.to_string()] })?;
    Config::check("test".into(), file, &Overrides::default(), &env, Need::Everything)
}

fn env() -> Env {
    Env::from_iter([
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1/db"),
        ("STRIPE_API_KEY", "sk_test_hunter2"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_a, whsec_b"),
    ])
}

fn stripe(config: &Config) -> (&SystemConfig, &Stripe) {
    let system = &config.systems[&System::new("stripe").unwrap()];
    match &system.kind {
        Kind::Stripe(stripe) => (system, stripe),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_file_the_product_and_one_stripe_account_run() {
    let config = check("", env()).unwrap();
    let names: Vec<_> = config.systems.keys().map(|s| s.to_string()).collect();
    assert_eq!(names, ["product", "stripe"]);
    assert_eq!(stripe(&config).1.webhook_secrets.len(), 2);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.merge.priority[0].as_str(), "product");
}

#[test]
fn a_secret_is_never_shown() {
    let config = check("", env()).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("whsec"), "{shown}");
}

#[test]
fn every_mistake_names_its_key() {
    for (text, key) in [
        ("[systems.product]\nkind = \"postgres\"\ntabel = \"x\"", "tabel"),
        ("[systems.product]\nkind = \"oracle\"", "systems.product.kind"),
        ("[systems.product]\nkind = \"postgres\"\nkey = \"id\"", "systems.product.table"),
        ("[systems.product]\nkind = \"postgres\"\ntable = \"t\"\n[systems.product.columns]\nnme = \"x\"", "nme"),
        ("[systems.stripe]\nkind = \"stripe\"\nmode = \"write\"", "systems.stripe.mode"),
        ("[systems.stripe]\nkind = \"stripe\"\ndeletes = \"no\"", "systems.stripe.deletes"),
        ("[systems.Stripe]\nkind = \"stripe\"", "systems.Stripe"),
        ("[systems.eu]\nkind = \"stripe\"\nenv_prefix = \"STRIPE_EU\"", "STRIPE_EU_API_KEY"),
        ("[merge.fields.mail]\nrule = \"last-writer-wins\"", "merge.fields.mail"),
        ("[merge.fields.email]\nrule = \"newest\"", "merge.fields.email.rule"),
        ("[merge.fields.email]\nrule = \"system-of-record\"", "merge.fields.email.systems"),
        ("[merge]\npriority = [\"product\", \"nosuch\"]", "merge.priority"),
        ("[merge.fields.email]\nrule = \"system-of-record\"\nsystems = [\"nosuch\"]", "merge.fields.email"),
        ("[systems.crm]\nkind = \"topic\"\ntable = \"x\"", "systems.crm.table"),
        ("retention_days = 0", "retention_days"),
        ("partitions = 0", "partitions"),
    ] {
        let error = check(text, env()).expect_err(text).to_string();
        assert!(error.contains(key), "{text}\n gave {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_environment_is_checked_and_secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sk_live_from_a_file\n").unwrap();
    let path = path.to_str().unwrap();
    let config = check("", Env::from_iter([("DATABASE_URL", "postgres://x"), ("STRIPE_API_KEY_FILE", path)])).unwrap();
    let (system, stripe) = stripe(&config);
    assert!(stripe.options.as_ref().unwrap().is_live());
    assert_eq!(system.deletes, Deletes::Keep, "a live key: a delete there cancels subscriptions");

    for (vars, key) in [
        (vec![("STRIPE_API_KEY", "sk_test_x")], "DATABASE_URL"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("STRIPE_API_KEY_FILE", path)], "STRIPE_API_KEY"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("STRIPE_API_BASE", "http://example.com")], "STRIPE_API_BASE"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("STRIPE_API_BASE", "https://api.stripe.com/v1")], "STRIPE_API_BASE"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("CONCORD_LISTEN", "0.0.0.0:8000")], "CONCORD_API_TOKEN"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("CONCORD_LISTEN", "8000")], "CONCORD_LISTEN"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("KAFKA_SASL_USERNAME", "x")], "KAFKA_BOOTSTRAP_SERVERS"),
        (vec![("DATABASE_URL", "x"), ("STRIPE_API_KEY", "a"), ("KAFKA_GROUP_INSTANCE_ID", "a b")], "KAFKA_GROUP_INSTANCE_ID"),
    ] {
        let env = vars.iter().copied().collect();
        let error = check("", env).expect_err(key).to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_process_has_its_name_in_the_group_from_the_environment_before_the_file() {
    let file = "[kafka]\nbootstrap_servers = \"k:9092\"\ngroup_instance_id = \"eu-1\"";
    let id = |env| check(file, env).unwrap().kafka.unwrap().group_instance_id;
    let usual = [("DATABASE_URL", "x"), ("STRIPE_API_KEY", "sk_test_x")];
    assert_eq!(id(usual.into_iter().collect()).as_deref(), Some("eu-1"));
    assert_eq!(id(usual.into_iter().chain([("KAFKA_GROUP_INSTANCE_ID", "eu-2")]).collect()).as_deref(), Some("eu-2"));
    let for_all = format!("{file}\n[kafka.client]\n\"group.instance.id\" = \"x\"");
    let error = check(&for_all, usual.into_iter().collect()).unwrap_err().to_string();
    assert!(error.contains("kafka.group_instance_id"), "each thread would take the others' places: {error}");
}

#[test]
fn a_secret_that_is_set_to_nothing_is_a_mistake() {
    let with = |name: &'static str, value: &'static str| {
        let usual = [("DATABASE_URL", "postgres://x"), ("STRIPE_API_KEY", "sk_test_x")];
        check("", usual.into_iter().filter(|(usual, _)| *usual != name).chain([(name, value)]).collect())
    };
    for (name, value) in [
        ("STRIPE_WEBHOOK_SECRET", ""),
        ("STRIPE_WEBHOOK_SECRET", " , "),
        ("STRIPE_API_KEY", " "),
        ("DATABASE_URL", ""),
        ("CONCORD_API_TOKEN", ""),
    ] {
        let error = with(name, value).expect_err(name).to_string();
        assert!(error.contains(&format!("{name}: ")), "{name}={value:?} gave {error}");
    }
    assert!(with("STRIPE_WEBHOOK_SECRET", "whsec_a").is_ok());
}

#[test]
fn what_is_logged_is_a_level_or_says_of_what() {
    let with = |text| check("", Env::from_iter([("DATABASE_URL", "postgres://x"), ("STRIPE_API_KEY", "sk_test_x"), ("CONCORD_LOG", text)]));
    for wrong in ["nonsense", "inf0", "concord=loud", "info,nonsense"] {
        let error = with(wrong).expect_err(wrong).to_string();
        assert!(error.contains("CONCORD_LOG") && error.contains("debug"), "{error}");
    }
    for right in ["", "debug", "WARN", "info,sqlx=debug", "concord=trace"] {
        assert!(with(right).is_ok(), "{right}");
    }
}

#[test]
fn the_example_in_the_documentation_is_read() {
    let text = include_str!("../../../concord.example.toml");
    let config = check(text, env()).unwrap();
    assert!(matches!(config.systems[&System::new("crm").unwrap()].kind, Kind::Topic));
    assert_eq!(config.merge.rules.len(), 1);
}
