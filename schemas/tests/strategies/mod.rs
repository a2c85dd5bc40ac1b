//! Any message of the protocol, for property tests.

use proptest::{collection, option, prelude::*, sample::select};
use schemas::*;
use std::str::FromStr;

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9 @._-]{1,24}", any::<String>()]
}

fn filled() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 @._-]{1,24}", "\\PC{1,12}"]
}

pub fn millis() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 1_600_000_000_000i64..1_800_000_000_000, any::<i64>()]
}

pub fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        select(vec![Field::Name, Field::Email, Field::Phone, Field::Address]),
        "[a-z_.]{1,10}".prop_map(Field::attribute),
        "\\PC{1,8}".prop_map(Field::attribute)
    ]
}

pub fn address() -> impl Strategy<Value = Address> {
    (text(), text(), text(), text(), text(), text()).prop_map(|(line1, line2, city, state, postal_code, country)| Address {
        line1,
        line2,
        city,
        state,
        postal_code,
        country,
    })
}

pub fn value() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Empty), filled().prop_map(Value::from), address().prop_map(Value::from)]
}

pub fn values() -> impl Strategy<Value = Values> {
    collection::vec((field(), value()), 0..5).prop_map(|values| values.into_iter().collect())
}

pub fn fields() -> impl Strategy<Value = CustomerFields> {
    (option::of(text()), option::of(text()), option::of(text()), option::of(address()), collection::btree_map(text(), text(), 0..4))
        .prop_map(|(name, email, phone, address, attributes)| CustomerFields { name, email, phone, address, attributes })
}

pub fn system() -> impl Strategy<Value = System> {
    "[a-z][a-z0-9_-]{0,10}".prop_map(|name| System::new(name).unwrap())
}

pub fn external_id() -> impl Strategy<Value = ExternalId> {
    text().prop_map(ExternalId::new)
}

pub fn customer_id() -> impl Strategy<Value = CustomerId> {
    (system(), external_id(), 0i64..3).prop_map(|(system, id, n)| CustomerId::minted(&system, &id, n))
}

pub fn write_id() -> impl Strategy<Value = WriteId> {
    (customer_id(), system(), 0u32..9, 0u32..3, any::<bool>()).prop_map(|(customer, system, n, m, create)| {
        let text = match (create, m) {
            (false, _) => format!("{customer}:{system}:{}", n + 1),
            (true, 0) => format!("{customer}:{system}:create{n}"),
            (true, m) => format!("{customer}:{system}:create{n}.{m}"),
        };
        WriteId::from_str(&text).unwrap()
    })
}

pub fn notice() -> impl Strategy<Value = Notice> {
    let change = (field(), option::of(value().prop_map(|value| Previous { value })), value()).prop_map(|(field, previous, new)| Change {
        field,
        previous,
        new,
    });
    (text(), option::of(text()), millis(), collection::vec(change, 0..3)).prop_map(|(event_id, write_id, time, changes)| Notice {
        event_id,
        write_id,
        time,
        changes,
    })
}

pub fn notices() -> impl Strategy<Value = Vec<Notice>> {
    collection::vec(notice(), 0..3)
}

pub fn answer() -> impl Strategy<Value = Answer> {
    let outcome = select(vec![Outcome::Done, Outcome::MovedOn, Outcome::Refused, Outcome::Gone, Outcome::Held]);
    (write_id(), outcome, option::of(field()), option::of(text()), any::<bool>(), option::of(fields()), any::<bool>()).prop_map(
        |(write_id, outcome, refused_field, reason, taken, left, unseen)| Answer {
            write_id,
            outcome,
            refused_field,
            reason,
            taken,
            left,
            unseen,
        },
    )
}

pub fn source_customer() -> impl Strategy<Value = SourceCustomer> {
    (
        (option::of(any::<i64>()), option::of(any::<i64>()), millis(), option::of(fields()), option::of(text()), option::of(text())),
        (millis(), option::of(millis()), any::<bool>(), notices(), option::of(answer())),
    )
        .prop_map(|((order, incarnation, look, fields, concord_id, mark), (created, stamp, settled, notices, answer))| {
            SourceCustomer { order, incarnation, look, fields, concord_id, mark, created, stamp, settled, notices, answer }
        })
}

pub fn request() -> impl Strategy<Value = Request> {
    let read = (notices(), option::of(text())).prop_map(|(notices, page)| Action::Read(Read { notices, page }));
    let write = (
        (write_id(), customer_id(), any::<i64>(), values(), values()),
        (option::of(text()), any::<i64>(), option::of(millis()), any::<bool>()),
    )
        .prop_map(|((id, customer, incarnation, set, expected), (mark, after, stamp, settled))| {
            Action::Write(Write { id, customer, incarnation, set, expected, mark, after, stamp, settled })
        });
    let delete = (write_id(), customer_id(), any::<i64>())
        .prop_map(|(id, customer, incarnation)| Action::Delete(Delete { id, customer, incarnation }));
    let create = (write_id(), text(), customer_id(), values())
        .prop_map(|(id, key, customer, set)| Action::Create(Create { id, key, customer, set }));
    prop_oneof![read, write, delete, create].prop_map(|action| Request { action })
}

pub fn link() -> impl Strategy<Value = CustomerLink> {
    (any::<i64>(), customer_id()).prop_map(|(incarnation, customer)| CustomerLink { incarnation, customer })
}

pub fn question() -> impl Strategy<Value = Question> {
    (
        (system(), external_id(), any::<i64>(), select(vec![By::Carried, By::Email, By::Minted]), option::of(text())),
        (customer_id(), any::<bool>(), option::of(customer_id()), any::<i32>(), source_customer()),
    )
        .prop_map(|((system, external_id, incarnation, by, email), (minted, ours, duplicate_of, bounces, first))| Question {
            system,
            external_id,
            incarnation,
            by,
            email,
            minted,
            ours,
            duplicate_of,
            bounces,
            first,
        })
}

pub fn identify() -> impl Strategy<Value = IdentifyMessage> {
    prop_oneof![
        question().prop_map(IdentifyBody::Ask),
        customer_id().prop_map(|customer| IdentifyBody::Claim(Claim { customer })),
        customer_id().prop_map(|customer| IdentifyBody::Release(Release { customer })),
    ]
    .prop_map(|body| IdentifyMessage { body })
}

pub fn unify() -> impl Strategy<Value = UnifyMessage> {
    let result = (system(), option::of(external_id()), any::<i64>(), source_customer())
        .prop_map(|(system, external_id, incarnation, result)| RecordResult { system, external_id, incarnation, result });
    prop_oneof![
        result.prop_map(UnifyBody::Result),
        question().prop_map(UnifyBody::Question),
        (text(), any::<bool>()).prop_map(|(email, first)| UnifyBody::Status(Status { email, first })),
        (system(), text()).prop_map(|(system, reason)| UnifyBody::Walk(Walk { system, reason })),
        (system(), external_id(), any::<i64>()).prop_map(|(system, external_id, incarnation)| UnifyBody::Gone(Gone {
            system,
            external_id,
            incarnation
        })),
    ]
    .prop_map(|body| UnifyMessage { body })
}

pub fn unified() -> impl Strategy<Value = UnifiedCustomer> {
    let golden = (field(), value(), system(), external_id(), option::of(text()), millis(), text()).prop_map(
        |(field, value, system, external_id, event_id, edited_at, rule)| GoldenField {
            field,
            value,
            system,
            external_id,
            event_id,
            edited_at,
            rule: rule.into(),
        },
    );
    let refused = (field(), value(), text()).prop_map(|(field, value, reason)| RefusedValue { field, value, reason });
    let record = (
        (system(), external_id(), any::<bool>(), any::<bool>(), any::<bool>()),
        (values(), option::of(write_id()), collection::vec(refused, 0..2), collection::vec(field(), 0..2)),
    )
        .prop_map(|((system, external_id, deleted, spare, in_step), (shows, in_flight, refused, held))| LinkedRecord {
            system,
            external_id,
            deleted,
            spare,
            in_step,
            shows,
            in_flight,
            refused,
            held,
        });
    (customer_id(), any::<i64>(), any::<bool>(), millis(), any::<bool>(), collection::vec(golden, 0..3), collection::vec(record, 0..3))
        .prop_map(|(customer_id, version, deleted, updated_at, contested, fields, records)| UnifiedCustomer {
            customer_id,
            version,
            deleted,
            updated_at,
            contested,
            fields,
            records,
        })
}

pub fn conflict() -> impl Strategy<Value = CustomerConflict> {
    let kind = select(ConflictKind::ALL.to_vec());
    let contender = || {
        option::of((value(), system(), millis(), option::of(text())).prop_map(|(value, system, edited_at, event_id)| Contender {
            value,
            system,
            edited_at,
            event_id,
        }))
    };
    (
        (text(), kind, customer_id(), system(), option::of(external_id())),
        (option::of(field()), millis(), option::of(text()), contender(), contender(), option::of(text())),
    )
        .prop_map(|((id, kind, customer_id, system, external_id), (field, at, rule, winner, loser, detail))| CustomerConflict {
            id,
            kind,
            customer_id,
            system,
            external_id,
            field,
            at,
            rule,
            winner,
            loser,
            detail,
        })
}
