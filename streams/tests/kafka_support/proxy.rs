//! A proxy between clients and a broker that reads along, and does to the next commit what networks do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::{Broker, own_broker};

const PRODUCE: u16 = 0;
const ADD_PARTITIONS_TO_TXN: u16 = 24;
const END_TXN: u16 = 26;

/// What happens to the next request to commit a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The broker does it, and the connection is cut instead of its answer.
    AnswerLost,
    /// It is under way until a later transaction has written something, and reaches the broker then.
    Late,
}

/// Its port is the one at which the broker says that it is.
pub struct Proxy {
    port: u16,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: Option<Trouble>,
    /// A late request, and where it goes in the end.
    held: Option<(Vec<u8>, TcpStream)>,
    /// Since then a transaction began.
    begun: bool,
    /// The error code that the broker answered to the request in trouble.
    answer: Option<i16>,
}

/// A request that the broker has not answered yet, if its answer is of interest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Commit(Trouble),
    Write,
}

/// The one before the only broker, for the tests that take turns with it.
pub fn proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| Proxy::start(own_broker()))
}

impl Proxy {
    fn start(broker: &Broker) -> Proxy {
        let (to, port) = broker.behind_proxy();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let plan = Arc::new(Plan::default());
        let shared = plan.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Without a broker the client is turned away.
                if let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) {
                    connect(client, broker, &shared);
                }
            }
        });
        Proxy { port, plan }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Brings the next commit into trouble, and waits until that is over; the error code that the broker gave to it.
    pub fn make(&self, trouble: Trouble, within: Duration) -> i16 {
        let mut state = self.plan.state.lock().unwrap();
        (state.next, state.answer) = (Some(trouble), None);
        let (state, waited) = self.plan.changed.wait_timeout_while(state, within, |state| state.answer.is_none()).unwrap();
        assert!(!waited.timed_out(), "{trouble:?}: armed {:?}, under way {}", state.next, state.held.is_some());
        state.answer.unwrap()
    }
}

/// Copies both ways, each in a thread that ends with its connection.
fn connect(client: TcpStream, broker: TcpStream, plan: &Arc<Plan>) {
    client.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let awaited = Arc::new(Mutex::new(Vec::<(u32, Awaited)>::new()));
    let (from, to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
    let (shared, asked) = (plan.clone(), awaited.clone());
    thread::spawn(move || {
        let _ = requests(&from, &to, &shared, &asked);
        // A request that is held still needs its way to the broker.
        let held =
            |state: &State| state.held.is_some() || asked.lock().unwrap().iter().any(|(_, what)| *what == Awaited::Commit(Trouble::Late));
        if !held(&shared.state.lock().unwrap()) {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
    let plan = plan.clone();
    thread::spawn(move || {
        let _ = answers(&broker, &client, &plan, &awaited);
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    });
}

fn requests(mut from: &TcpStream, mut to: &TcpStream, plan: &Plan, awaited: &Mutex<Vec<(u32, Awaited)>>) -> io::Result<()> {
    loop {
        let frame = frame(&mut from)?;
        let (api, correlation) = (u16::from_be_bytes([frame[4], frame[5]]), number(&frame[8..]));
        // In the versions that librdkafka speaks, whether to commit or to abort is the last byte.
        if api == END_TXN && frame.last() == Some(&1) {
            let mut state = plan.state.lock().unwrap();
            if let Some(trouble) = state.next.take() {
                awaited.lock().unwrap().push((correlation, Awaited::Commit(trouble)));
                if trouble == Trouble::Late {
                    (state.held, state.begun) = (Some((frame, to.try_clone()?)), false);
                    continue;
                }
            }
        } else if api == ADD_PARTITIONS_TO_TXN {
            plan.state.lock().unwrap().begun = true;
        } else if api == PRODUCE && plan.state.lock().unwrap().begun {
            awaited.lock().unwrap().push((correlation, Awaited::Write));
        }
        to.write_all(&frame)?;
    }
}

fn answers(mut from: &TcpStream, mut to: &TcpStream, plan: &Plan, awaited: &Mutex<Vec<(u32, Awaited)>>) -> io::Result<()> {
    loop {
        let frame = frame(&mut from)?;
        let correlation = number(&frame[4..]);
        let what = {
            let mut awaited = awaited.lock().unwrap();
            awaited.iter().position(|(of, _)| *of == correlation).map(|place| awaited.swap_remove(place).1)
        };
        match what {
            Some(Awaited::Commit(_)) => {
                // Length, correlation, throttle time, error code.
                plan.state.lock().unwrap().answer = Some(i16::from_be_bytes([frame[12], frame[13]]));
                plan.changed.notify_all();
                return Ok(());
            }
            Some(Awaited::Write) => {
                let mut state = plan.state.lock().unwrap();
                if let Some((late, mut broker)) = state.held.take() {
                    broker.write_all(&late)?;
                    // The later transaction stays as it is meanwhile: nobody hears of what it wrote.
                    drop(plan.changed.wait_while(state, |state| state.answer.is_none()));
                }
            }
            None => {}
        }
        // The client of a late request may be gone.
        if to.write_all(&frame).is_err() && !awaited.lock().unwrap().iter().any(|(_, what)| *what == Awaited::Commit(Trouble::Late)) {
            return Ok(());
        }
    }
}

/// A request or an answer, with the length that it begins with.
fn frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    frame.resize(4 + number(&frame) as usize, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
