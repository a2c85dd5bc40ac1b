//! Signed webhooks, each delivered until it is taken.

use super::{faults::Fault, state::State};
use crate::Target;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc::UnboundedReceiver};

/// Attempts at once.
const AT_ONCE: usize = 64;
/// Stripe gives up after three days.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3600);

/// An event on its way to the endpoint.
#[derive(Clone)]
pub(crate) struct Delivery {
    pub event: String,
    pub body: Bytes,
}

struct Sender {
    state: Arc<State>,
    http: reqwest::Client,
    turns: Semaphore,
    /// Held back until another one is through.
    held: Mutex<Vec<Delivery>>,
}

/// Sends what comes until the account goes.
pub(crate) async fn run(state: Arc<State>, mut events: UnboundedReceiver<Delivery>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(20))
        .build();
    let http = match http {
        Ok(http) => http,
        Err(error) => {
            tracing::error!(%error, "No webhook can be sent.");
            return;
        }
    };
    let sender = Arc::new(Sender { http, turns: Semaphore::new(AT_ONCE), held: Mutex::new(Vec::new()), state });
    // Dropped with this future: nothing is sent after the end.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            delivery = events.recv() => match delivery {
                Some(delivery) => sender.take(delivery, &mut tasks),
                None => return,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

impl Sender {
    fn take(self: &Arc<Self>, delivery: Delivery, tasks: &mut tokio::task::JoinSet<()>) {
        let (mut copies, mut delay, mut hold) = (1, Duration::ZERO, None);
        for fault in self.state.faults.lock().of_webhook() {
            match fault {
                Fault::WebhookDrop => copies = 0,
                Fault::WebhookDouble => copies *= 2,
                Fault::WebhookDelay { ms } => delay += Duration::from_millis(ms),
                Fault::WebhookReorder { ms } => hold = Some(Duration::from_millis(ms)),
                _ => {}
            }
        }
        if copies == 0 {
            self.state.delivered(&delivery.event);
            return;
        }
        if let Some(most) = hold {
            self.held.lock().push(delivery.clone());
            let sender = self.clone();
            tasks.spawn(async move {
                tokio::time::sleep(delay + most).await;
                let overdue = {
                    let mut held = sender.held.lock();
                    held.iter().position(|d| d.event == delivery.event).map(|at| held.remove(at))
                };
                if let Some(delivery) = overdue {
                    sender.deliver(&delivery).await;
                }
            });
            return;
        }
        for _ in 0..copies {
            let (sender, delivery) = (self.clone(), delivery.clone());
            tasks.spawn(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                sender.deliver(&delivery).await;
                let held = std::mem::take(&mut *sender.held.lock());
                for delivery in held {
                    sender.deliver(&delivery).await;
                }
            });
        }
    }

    async fn deliver(&self, delivery: &Delivery) {
        let started = Instant::now();
        let mut pause = self.state.options.webhook_retry;
        while !self.attempt(delivery).await {
            if started.elapsed() > GIVE_UP {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.state.options.webhook_retry_most);
        }
        self.state.delivered(&delivery.event);
    }

    async fn attempt(&self, delivery: &Delivery) -> bool {
        let Ok(_turn) = self.turns.acquire().await else { return true };
        let Some(target) = self.state.target.lock().clone() else { return true };
        let signature = sign(&target, self.state.clock.now().div_euclid(1000), &delivery.body);
        let request = self
            .http
            .post(&target.url)
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", signature)
            .body(delivery.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                // Read to the end, so that the connection is used again.
                let _ = answer.bytes().await;
                true
            }
            Ok(answer) => {
                tracing::debug!(event_id = delivery.event, status = answer.status().as_u16(), "A webhook was refused; it comes again.");
                false
            }
            Err(error) => {
                tracing::debug!(event_id = delivery.event, %error, "A webhook was not taken; it comes again.");
                false
            }
        }
    }
}

/// Stripe's header: `t=<seconds>,v1=<HMAC-SHA256 of "t.body" in hex>`, and the `v0` that nobody may trust.
pub(crate) fn sign(target: &Target, seconds: i64, body: &[u8]) -> String {
    // HMAC takes a key of any length.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(target.secret.as_bytes()).expect("HMAC takes any key");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let v1 = hex::encode(mac.finalize().into_bytes());
    format!("t={seconds},v1={v1},v0={}", "0".repeat(64))
}
