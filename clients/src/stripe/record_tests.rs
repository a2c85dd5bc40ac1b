use super::*;
use schemas::System;
use serde_json::json;

fn event(kind: &str, object: Json, previous: Json) -> Event {
    let event = json!({
        "id": "evt_1", "object": "event", "type": kind, "created": 1_700_000_000, "api_version": "x", "livemode": false,
        "request": {"id": "req_1", "idempotency_key": "key"},
        "data": {"object": object, "previous_attributes": previous},
    });
    serde_json::from_str(&event.to_string()).unwrap()
}

fn customer() -> Json {
    json!({
        "id": "cus_1", "object": "customer", "created": 1_600_000_000, "name": "Ann", "email": "ann@x.org", "phone": null,
        "address": {"line1": "1 Main St", "line2": "", "city": "Oslo", "state": null, "postal_code": "0150", "country": "NO"},
        "metadata": {"plan": "pro", "concord_id": "abc", "concord_write": "w", "void": ""}, "balance": 0,
    })
}

fn change(field: Field, previous: impl Into<Value>, new: impl Into<Value>) -> Change {
    Change { field, previous: Some(Previous { value: previous.into() }), new: new.into() }
}

fn address(line1: &str, city: &str) -> Address {
    Address { line1: line1.into(), city: city.into(), postal_code: "0150".into(), country: "NO".into(), ..Address::default() }
}

#[test]
fn a_customer_is_a_record_with_its_marks_apart() {
    let record = Record::from(serde_json::from_value::<Customer>(customer()).unwrap());
    assert_eq!(record.id.as_str(), "cus_1");
    assert_eq!((record.concord_id.as_deref(), record.mark.as_deref()), (Some("abc"), Some("w")));
    assert_eq!(record.created, 1_600_000_000_000);
    assert_eq!(record.fields.address, Some(address("1 Main St", "Oslo")));
    assert_eq!(record.fields.attributes, BTreeMap::from([("plan".to_owned(), "pro".to_owned())]));
    assert_eq!(record.fields.phone, None);
}

#[test]
fn an_update_says_what_each_field_was_whole() {
    let previous = json!({
        "name": "Anne", "phone": "1", "balance": 3,
        "address": {"city": "Bergen"},
        "metadata": {"plan": null, "gone": "x", "concord_write": "v", "void": "was"},
    });
    let (id, notice) = notice(&event("customer.updated", customer(), previous)).unwrap();
    assert_eq!(id.as_str(), "cus_1");
    assert_eq!((notice.write_id.as_deref(), notice.time), (Some("key"), 1_700_000_000_000));
    let expected = vec![
        change(Field::Name, "Anne", "Ann"),
        change(Field::Phone, "1", ""),
        change(Field::Address, address("1 Main St", "Bergen"), address("1 Main St", "Oslo")),
        change(Field::attribute("gone"), "x", ""),
        change(Field::attribute("plan"), "", "pro"),
        change(Field::attribute("void"), "was", ""),
    ];
    assert_eq!(notice.changes, expected);
}

#[test]
fn an_address_that_came_or_went_is_whole_on_both_sides() {
    let (_, came) = notice(&event("customer.updated", customer(), json!({"address": null}))).unwrap();
    assert_eq!(came.changes, vec![change(Field::Address, "", address("1 Main St", "Oslo"))]);
    let mut bare = customer();
    bare["address"] = Json::Null;
    let old = json!({"line1": "2", "line2": null, "city": null, "state": null, "postal_code": null, "country": null});
    let (_, went) = notice(&event("customer.updated", bare, json!({"address": old}))).unwrap();
    assert_eq!(went.changes, vec![change(Field::Address, Address { line1: "2".into(), ..Address::default() }, "")]);
}

#[test]
fn creates_show_all_values_and_deletes_none() {
    let (_, made) = notice(&event("customer.created", customer(), Json::Null)).unwrap();
    assert!(made.changes.contains(&change(Field::Email, "", "ann@x.org")));
    assert_eq!(made.changes.len(), 4);
    let (id, gone) = notice(&event("customer.deleted", customer(), Json::Null)).unwrap();
    assert_eq!((id.as_str(), gone.changes.len()), ("cus_1", 0));
    assert!(notice(&event("customer.source.updated", customer(), Json::Null)).is_none());
    assert!(notice(&event("customer.updated", json!({"object": "x"}), Json::Null)).is_none());
}

#[test]
fn events_of_any_version_say_who_asked() {
    for (request, key) in [(json!(null), None), (json!("req_1"), None), (json!({"id": null, "idempotency_key": "k"}), Some("k"))] {
        let text = json!({"id": "evt_1", "type": "x", "created": 1, "request": request, "data": {"object": {}}}).to_string();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap().request.idempotency_key.as_deref(), key);
    }
}

#[test]
fn forms_name_exactly_what_changes() {
    let id = CustomerId::minted(&System::new("stripe").unwrap(), &ExternalId::new("1"), 0);
    let mark = WriteId::write(id, &System::new("stripe").unwrap(), 3);
    let set = Values::from([
        (Field::Name, "Ann".into()),
        (Field::Phone, Value::Empty),
        (Field::Address, Address { line1: "1".into(), ..Address::default() }.into()),
        (Field::attribute("plan"), Value::Empty),
        (Field::attribute("tier"), "1".into()),
    ]);
    let pairs = |form: Form| form.pairs().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
    assert_eq!(
        pairs(update_form(&set, &mark)),
        format!(
            "name=Ann phone= address[line1]=1 address[line2]= address[city]= address[state]= address[postal_code]= address[country]= \
             metadata[plan]= metadata[tier]=1 metadata[concord_write]={mark}"
        )
    );
    assert_eq!(
        pairs(create_form(&set, id, &mark)),
        format!("name=Ann address[line1]=1 metadata[tier]=1 metadata[concord_id]={id} metadata[concord_write]={mark}")
    );
    assert_eq!(
        pairs(update_form(&Values::from([(Field::Address, Value::Empty)]), &mark)),
        format!("address= metadata[concord_write]={mark}")
    );
}

#[test]
fn a_refusal_names_its_field() {
    let set = Values::from([(Field::Name, "x".into()), (Field::attribute("a"), "1".into()), (Field::attribute("b"), "2".into())]);
    for (param, field) in [
        ("email", Some(Field::Email)),
        ("address[country]", Some(Field::Address)),
        ("address", Some(Field::Address)),
        ("metadata[plan]", Some(Field::attribute("plan"))),
        ("metadata", Some(Field::attribute("b"))),
        ("metadata[]", None),
        ("shipping[name]", None),
        ("id", None),
    ] {
        assert_eq!(field_of_param(param, &set), field, "{param}");
    }
    assert_eq!(field_of_param("metadata", &Values::new()), None);
}

#[test]
fn what_metadata_cannot_hold_is_known_before_the_call() {
    let of =
        |key: &str, value: &str| unfit(&Values::from([(Field::Name, "x".into()), (Field::attribute(key), value.into())])).map(|(f, _)| f);
    assert_eq!(of("plan", "pro"), None);
    assert_eq!(of(&"k".repeat(40), &"é".repeat(500)), None);
    for (key, value) in [(&*"k".repeat(41), "v"), ("k", &*"v".repeat(501)), ("a[b]", "v"), ("concord_id", "v"), ("concord_write", "v")] {
        assert_eq!(of(key, value), Some(Field::attribute(key)));
        assert_eq!(of(key, ""), None, "clearing is no write");
    }
}

#[test]
fn the_key_of_a_repeated_write_names_the_write() {
    let id = CustomerId::minted(&System::new("stripe").unwrap(), &ExternalId::new("1"), 0);
    for (key, write) in [
        (format!("{id}:stripe:7"), format!("{id}:stripe:7")),
        (format!("{id}:stripe:7.k2"), format!("{id}:stripe:7")),
        (format!("{id}:stripe:create1.k1"), format!("{id}:stripe:create1")),
        (format!("{id}:stripe:7.k"), format!("{id}:stripe:7.k")),
        (format!("{id}:stripe:7.kx"), format!("{id}:stripe:7.kx")),
        ("somebody.k1".into(), "somebody.k1".into()),
    ] {
        assert_eq!(write_of_key(&key), write);
    }
}
