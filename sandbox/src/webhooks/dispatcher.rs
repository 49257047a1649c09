//! The queue of events: as many lanes as deliveries may run at a time, one authorization always on the same lane.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use url::Url;

use crate::webhooks::{Delivery, Event, Manner, WebhookSecret};

/// How long one POST may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why events cannot be sent to a URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("must be an absolute http or https URL")]
    Url,
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Where events go.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) secret: WebhookSecret,
    pub(crate) client: reqwest::Client,
}

impl Target {
    pub(crate) fn new(url: &str, secret: WebhookSecret) -> Result<Self, TargetError> {
        let url = Url::parse(url).map_err(|_| TargetError::Url)?;
        let mut client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("waybill-sandbox/", env!("CARGO_PKG_VERSION")));
        match url.scheme() {
            "https" => {}
            // Plain HTTP needs no certificates, and a machine without any could not make a client that loads them.
            "http" => client = client.tls_certs_only([]),
            _ => return Err(TargetError::Url),
        }
        Ok(Self { url, secret, client: client.build()? })
    }
}

/// How deliveries are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Deliveries at a time.
    pub(crate) lanes: usize,
    /// Events that may wait, over all lanes.
    pub(crate) queue: usize,
    /// Tries per event.
    pub(crate) attempts: u32,
}

/// The receiving ends of the lanes.
pub(crate) type Receivers = Vec<mpsc::Receiver<Delivery>>;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) reordered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) overflowed: AtomicU64,
    pub(crate) pending: AtomicU64,
}

/// What `GET /control/webhooks` tells.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    url: Option<String>,
    /// Events that something happened to tell about.
    pub(crate) events: u64,
    /// POSTs made, repetitions included.
    pub(crate) attempts: u64,
    /// POSTs that were answered 2xx.
    pub(crate) delivered: u64,
    /// Events sent a second time by a fault.
    pub(crate) duplicated: u64,
    /// Events held back behind a later one by a fault.
    pub(crate) reordered: u64,
    /// Events given up after the last attempt.
    pub(crate) failed: u64,
    /// Events not sent by a fault.
    pub(crate) dropped: u64,
    /// Events not sent because the queue was full.
    pub(crate) overflowed: u64,
    /// Events waiting or being sent.
    pub(crate) pending: u64,
    /// Why the last unsuccessful POST was.
    last_error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Dispatcher {
    lanes: Vec<mpsc::Sender<Delivery>>,
    target: RwLock<Option<Arc<Target>>>,
    enabled: AtomicBool,
    last_error: Mutex<Option<String>>,
    pub(crate) counts: Counts,
    pub(crate) attempts: u32,
}

impl Dispatcher {
    pub(crate) fn new(settings: Settings, target: Option<Target>) -> (Self, Receivers) {
        let lanes = settings.lanes.max(1);
        let (senders, receivers) = (0..lanes).map(|_| mpsc::channel((settings.queue / lanes).max(1))).unzip();
        let dispatcher = Self {
            lanes: senders,
            enabled: AtomicBool::new(target.is_some()),
            target: RwLock::new(target.map(Arc::new)),
            last_error: Mutex::default(),
            counts: Counts::default(),
            attempts: settings.attempts.max(1),
        };
        (dispatcher, receivers)
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.target.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends events elsewhere from now on, or nowhere.
    pub(crate) fn set_target(&self, target: Option<Target>) {
        self.enabled.store(target.is_some(), Ordering::Relaxed);
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target.map(Arc::new);
    }

    /// Queues an event; never waits.
    pub(crate) fn send(&self, event: Event, position: u64, manner: Manner) {
        add(&self.counts.events);
        if manner == Manner::Never {
            add(&self.counts.dropped);
            return;
        }
        let Some(lane) = self.lanes.get(event.authorization.lane(self.lanes.len())) else { return };
        add(&self.counts.pending);
        if lane.try_send(Delivery { event, position, manner }).is_err() {
            self.done();
            add(&self.counts.overflowed);
        }
    }

    /// An event needs no more work.
    pub(crate) fn done(&self) {
        self.counts.pending.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn note_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn status(&self) -> Status {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Status {
            url: self.target().map(|target| target.url.to_string()),
            events: get(&counts.events),
            attempts: get(&counts.attempts),
            delivered: get(&counts.delivered),
            duplicated: get(&counts.duplicated),
            reordered: get(&counts.reordered),
            failed: get(&counts.failed),
            dropped: get(&counts.dropped),
            overflowed: get(&counts.overflowed),
            pending: get(&counts.pending),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Counts from zero again; what is pending stays.
    pub(crate) fn reset_counts(&self) {
        let Counts {
            events,
            attempts,
            delivered,
            duplicated,
            reordered,
            failed,
            dropped,
            overflowed,
            pending: _,
        } = &self.counts;
        for count in [events, attempts, delivered, duplicated, reordered, failed, dropped, overflowed] {
            count.store(0, Ordering::Relaxed);
        }
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
