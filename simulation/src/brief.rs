//! Messages and calls in few words, for traces.

use connect::{Call, Reply, Seen};
use schemas::{
    Action, CustomerConflict, CustomerFields, CustomerId, Field, IdentifyBody, Notice, Question, SourceCustomer, UnifiedCustomer,
    UnifyBody, Value, Values, WriteId,
};

pub fn value(value: &Value) -> String {
    match value {
        Value::Empty => "-".into(),
        Value::Text(text) => format!("'{text}'"),
        Value::Address(address) => format!("[{}]", address.line1),
    }
}

pub fn customer(id: &CustomerId) -> String {
    id.to_string()[..4].to_owned()
}

pub fn write_id(id: &WriteId) -> String {
    let text = id.to_string();
    format!("{}{}", &text[..4], &text[36..])
}

fn mark(text: &Option<String>) -> String {
    text.as_ref()
        .map_or("-".into(), |text| if text.len() > 36 { format!("{}{}", &text[..4], &text[36..]) } else { text.chars().take(4).collect() })
}

fn field(field: &Field) -> String {
    field.to_string().replace("attributes.", "")
}

pub fn values(values: &Values) -> String {
    values.iter().map(|(f, v)| format!("{}={}", field(f), value(v))).collect::<Vec<_>>().join(" ")
}

fn fields(fields: &Option<CustomerFields>) -> String {
    fields.as_ref().map_or("nothing".into(), |fields| format!("{{{}}}", values(&fields.values())))
}

fn notices(notices: &[Notice]) -> String {
    let one = |n: &Notice| {
        let change = |c: &schemas::Change| {
            format!("{} {}>{}", field(&c.field), c.previous.as_ref().map_or("?".into(), |p| value(&p.value)), value(&c.new))
        };
        let changes: Vec<String> = n.changes.iter().map(change).collect();
        let by = if n.write_id.is_some() { format!(" by {}", mark(&n.write_id)) } else { String::new() };
        format!("({}{by} t{}: {})", n.event_id, n.time % 10_000_000, changes.join(", "))
    };
    if notices.is_empty() { String::new() } else { format!(" notices {}", notices.iter().map(one).collect::<String>()) }
}

pub fn action(action: &Action) -> String {
    match action {
        Action::Read(read) => {
            format!("READ{}{}", read.page.as_ref().map_or(String::new(), |p| format!(" page {p}")), notices(&read.notices))
        }
        Action::Write(w) => format!(
            "WRITE {} ~{} set {} expected {} mark {} after {} stamp {:?} settled {}",
            write_id(&w.id),
            w.incarnation,
            values(&w.set),
            values(&w.expected),
            mark(&w.mark),
            w.after,
            w.stamp.map(|s| s % 10_000_000),
            w.settled
        ),
        Action::Delete(d) => format!("DELETE {} ~{}", write_id(&d.id), d.incarnation),
        Action::Create(c) => format!("CREATE {} set {}", write_id(&c.id), values(&c.set)),
    }
}

pub fn result(r: &SourceCustomer) -> String {
    let answer = r.answer.as_ref().map_or(String::new(), |a| {
        let refused = a.refused_field.as_ref().map_or(String::new(), |f| format!(" ({f}: {:?}, taken {})", a.reason, a.taken));
        let left = if a.left.is_some() { format!(" left {}", fields(&a.left)) } else { String::new() };
        format!(" ANSWERS {} {:?}{refused}{left}{}", write_id(&a.write_id), a.outcome, if a.unseen { " unseen" } else { "" })
    });
    format!(
        "#{} ~{} {} look t{} mark {}{}{answer}{}",
        r.order.map_or("none".into(), |o| o.to_string()),
        r.incarnation.map_or("?".into(), |i| i.to_string()),
        fields(&r.fields),
        r.look % 10_000_000,
        mark(&r.mark),
        r.concord_id.as_ref().map_or(String::new(), |c| format!(" of {}", &c[..4.min(c.len())])),
        notices(&r.notices)
    )
}

fn question(q: &Question) -> String {
    format!(
        "{} {}~{} by {:?} email {:?} minted {} ours {} bounces {} {}",
        q.system,
        q.external_id,
        q.incarnation,
        q.by,
        q.email,
        customer(&q.minted),
        q.ours,
        q.bounces,
        result(&q.first)
    )
}

pub fn identify(body: &IdentifyBody) -> String {
    match body {
        IdentifyBody::Ask(q) => format!("ASK {}", question(q)),
        IdentifyBody::Claim(c) => format!("CLAIM {}", customer(&c.customer)),
        IdentifyBody::Release(r) => format!("RELEASE {}", customer(&r.customer)),
    }
}

pub fn unify(body: &UnifyBody) -> String {
    match body {
        UnifyBody::Result(r) => {
            let id = r.external_id.as_ref().map_or("-".into(), ToString::to_string);
            format!("RESULT {} {id}~{} {}", r.system, r.incarnation, result(&r.result))
        }
        UnifyBody::Question(q) => format!("QUESTION {}", question(q)),
        other => format!("{other:?}"),
    }
}

pub fn unified(u: &UnifiedCustomer) -> String {
    let golden: Vec<String> = u
        .fields
        .iter()
        .map(|g| format!("{}={} ({} {} t{})", field(&g.field), value(&g.value), g.system, g.rule, g.edited_at % 10_000_000))
        .collect();
    let records: Vec<String> = u
        .records
        .iter()
        .map(|r| {
            format!(
                "{} {}{}{}{} {{{}}}{}",
                r.system,
                r.external_id,
                if r.deleted { " deleted" } else { "" },
                if r.spare { " spare" } else { "" },
                if r.in_step { "" } else { " behind" },
                values(&r.shows),
                r.in_flight.as_ref().map_or(String::new(), |w| format!(" in flight {}", write_id(w)))
            )
        })
        .collect();
    format!(
        "v{}{}{} GOLDEN {} RECORDS {}",
        u.version,
        if u.deleted { " deleted" } else { "" },
        if u.contested { " contested" } else { "" },
        golden.join(" "),
        records.join("; ")
    )
}

pub fn conflict(c: &CustomerConflict) -> String {
    let side = |s: &Option<schemas::Contender>| {
        s.as_ref().map_or("-".into(), |s| format!("{} ({} t{})", value(&s.value), s.system, s.edited_at % 10_000_000))
    };
    format!(
        "CONFLICT {:?} {} winner {} loser {} rule {:?} {}",
        c.kind,
        c.field.as_ref().map_or(String::new(), field),
        side(&c.winner),
        side(&c.loser),
        c.rule,
        c.detail.as_deref().unwrap_or_default()
    )
}

fn seen(s: &Seen) -> String {
    format!(
        "{} {} look t{} mark {} stamp {:?}",
        s.id,
        fields(&s.fields),
        s.look % 10_000_000,
        mark(&s.mark),
        s.stamp.map(|s| s % 10_000_000)
    )
}

pub fn call(call: &Call) -> String {
    match call {
        Call::Get { id } => format!("GET {id}"),
        Call::Update(u) => {
            let key = if u.key == u.write.to_string() { String::new() } else { format!(" key {}", &u.key[36..]) };
            format!(
                "UPDATE {} {}{key} set {} since {:?}",
                u.id,
                write_id(&u.write),
                values(&u.set),
                u.unmodified_since.map(|s| s % 10_000_000)
            )
        }
        Call::Create(c) => format!("CREATE {} key {} set {}", write_id(&c.id), &c.key[36..], values(&c.set)),
        Call::Delete(d) => format!("DELETE {} {}", d.id, write_id(&d.write)),
        other => format!("{other:?}"),
    }
}

pub fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Done { seen: s, exact } => format!("DONE{} {}", if *exact { " exact" } else { "" }, seen(s)),
        Reply::Replayed { seen: s } => format!("REPLAYED {}", seen(s)),
        Reply::Found(found) => format!("FOUND {}", found.iter().map(seen).collect::<Vec<_>>().join("; ")),
        other => format!("{other:?}"),
    }
}
