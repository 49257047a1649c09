//! `jobs`: the job platform, beside those that others have built, on one Postgres and in one run.

mod contestant;
mod database;
mod events;
mod measure;
mod ours;

use std::{collections::HashMap, env, path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use contestant::Contestant;
use measure::Figures;
pub use ours::Ours;

/// What our own figures are gathered under.
const OURS: &str = "waybill";

/// Every key of a contestant, in the order of the printed line.
const KEYS: &[&str] = &[
    "enqueue_tx_1",
    "enqueue_tx_16",
    "enqueue_bulk",
    "drain_noop",
    "drain_trivial_tx",
    "pickup_ms_p50",
    "pickup_ms_p95",
    "pickup_ms_p99",
    "rescue_s",
    "events_end_to_end_per_s",
    "rss_mb",
    "drain_postgres_cpu_us",
    "drain_worker_cpu_us",
];

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Small numbers, once: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only ours, without the baselines.
    #[arg(long)]
    only_ours: bool,
    /// Only these parts, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Jobs in the history of the drain with many jobs waiting; 10000000 takes minutes and gigabytes.
    #[arg(long, default_value_t = 0)]
    history: u64,
    /// Accepted for symmetry with other tools: the output is always one JSON line.
    #[arg(long)]
    json: bool,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// `enqueue_*`
    Enqueue,
    /// `drain_noop`, `rss_mb`, `drain_*_cpu_us`
    Drain,
    /// `drain_trivial_tx`
    Tx,
    /// `drain_noop_loaded`
    Loaded,
    /// `pickup_ms_*`
    Pickup,
    /// `rescue_s`
    Rescue,
    /// `events_end_to_end_per_s`
    Events,
}

/// How much of everything.
#[derive(Debug, Clone)]
struct Sizes {
    only: Vec<Part>,
    enqueue: Duration,
    drain: u64,
    waiting: u64,
    pickups: u64,
    events: usize,
}

impl Sizes {
    const FULL: Self = Self {
        only: Vec::new(),
        enqueue: Duration::from_secs(5),
        drain: 200_000,
        waiting: 1_000_000,
        pickups: 500,
        events: 50_000,
    };
    const QUICK: Self = Self {
        only: Vec::new(),
        enqueue: Duration::from_secs(1),
        drain: 20_000,
        waiting: 50_000,
        pickups: 50,
        events: 5_000,
    };

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Runs everything and prints the medians.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let server = env::var("WAYBILL_BENCH_DATABASE_URL").context("run it through `cargo xtask bench jobs`")?;
    let broker = env::var("WAYBILL_BENCH_AMQP_URL").ok();
    let (sizes, runs) = if args.quick { (Sizes::QUICK, 1) } else { (Sizes::FULL, args.runs.max(1)) };
    let sizes = Sizes { only: args.only, ..sizes };
    let mut contestants = vec![contestant::ours()?];
    if let (false, Ok(folder)) = (args.only_ours, env::var("WAYBILL_BENCH_BASELINES")) {
        contestants.extend(contestant::baselines(&PathBuf::from(folder)));
    }

    let mut all: HashMap<&str, Vec<Figures>> = HashMap::new();
    let mut loaded = Vec::new();
    // In turn, so that what else goes on in the machine meets all of them alike.
    for run in 1..=runs {
        for contestant in &contestants {
            eprintln!("run {run} of {runs}: {}", contestant.name);
            let figures = one(&server, broker.as_deref(), contestant, &sizes)
                .await
                .with_context(|| format!("measuring {}", contestant.name))?;
            eprintln!("  {}", object(std::slice::from_ref(&figures)));
            all.entry(contestant.name).or_default().push(figures);
        }
        if sizes.wants(Part::Loaded) {
            eprintln!(
                "run {run} of {runs}: {OURS}, {} waiting, {} in the history",
                sizes.waiting, args.history
            );
            loaded.push(measure::drain_loaded(&server, &contestants[0], &sizes, args.history).await?);
        }
    }

    let mut line = Map::new();
    line.insert("benchmark".to_owned(), json!("jobs"));
    line.insert("runs".to_owned(), json!(runs));
    line.insert("quick".to_owned(), json!(args.quick));
    let ours = all.remove(OURS).unwrap_or_default();
    if let Value::Object(figures) = object(&ours) {
        line.extend(figures);
    }
    line.insert("drain_noop_loaded".to_owned(), rounded(median(loaded)));
    line.insert("loaded_waiting".to_owned(), json!(sizes.waiting));
    line.insert("loaded_history".to_owned(), json!(args.history));
    let baselines: Map<String, Value> =
        all.iter().map(|(name, figures)| ((*name).to_owned(), object(figures))).collect();
    let best = all.values().filter_map(|figures| of(figures, "drain_noop")).fold(0.0, f64::max);
    if let (true, Some(drained)) = (best > 0.0, of(&ours, "drain_noop")) {
        line.insert(
            "drain_noop_to_best_baseline".to_owned(),
            json!((drained / best * 100.0).round() / 100.0),
        );
    }
    line.insert("baselines".to_owned(), Value::Object(baselines));
    println!("{}", Value::Object(line));
    Ok(())
}

async fn one(
    server: &str,
    broker: Option<&str>,
    contestant: &Contestant,
    sizes: &Sizes,
) -> anyhow::Result<Figures> {
    let mut figures = measure::all(server, contestant, sizes).await?;
    if let (OURS, Some(broker), true) = (contestant.name, broker, sizes.wants(Part::Events)) {
        let rate = events::end_to_end(server, broker, sizes.events).await.context("events")?;
        figures.insert("events_end_to_end_per_s", rate);
    }
    Ok(figures)
}

/// The median of a figure, if it was measured.
fn of(runs: &[Figures], key: &str) -> Option<f64> {
    median(runs.iter().filter_map(|figures| figures.get(key).copied()).collect())
}

fn object(runs: &[Figures]) -> Value {
    KEYS.iter().map(|key| ((*key).to_owned(), rounded(of(runs, key)))).collect::<Map<_, _>>().into()
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Null for what was not measured; whole numbers from 100 on, else two decimals.
#[allow(clippy::cast_possible_truncation)]
fn rounded(figure: Option<f64>) -> Value {
    match figure {
        Some(figure) if figure >= 100.0 => json!(figure.round() as i64),
        Some(figure) => json!((figure * 100.0).round() / 100.0),
        None => Value::Null,
    }
}
