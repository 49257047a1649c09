//! What processes use, from /proc.

use std::{collections::BTreeMap, fs};

use anyhow::Context as _;

/// Clock ticks a second in `/proc/<pid>/stat`: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// CPU seconds so far, by process name. Postgres counts as one: the postmaster, its children, and those that ended.
pub fn cpu(named: &[(String, u32)], postmaster: Option<u32>) -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for (name, pid) in named {
        if let Some(stat) = Stat::of(*pid) {
            *seconds.entry(group(name)).or_insert(0.0) += stat.own;
        }
    }
    let mut postgres = 0.0;
    let mut broker = 0.0;
    for stat in everyone() {
        if Some(stat.pid) == postmaster {
            postgres += stat.own + stat.ended_children;
        } else if postmaster.is_some() && Some(stat.parent) == postmaster {
            postgres += stat.own;
        } else if stat.name == "beam.smp" {
            broker += stat.own;
        }
    }
    seconds.insert("postgres".to_owned(), postgres);
    if broker > 0.0 {
        seconds.insert("rabbitmq".to_owned(), broker);
    }
    seconds
}

/// Peak resident memory in MB by process name, since each process's start.
pub fn peak_rss(named: &[(String, u32)]) -> BTreeMap<String, f64> {
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    named
        .iter()
        .filter_map(|(name, pid)| Some((name.clone(), (peak(*pid)? / 102.4).round() / 10.0)))
        .collect()
}

/// Reads `api=12,worker-1=15`.
pub fn parse(pids: &str) -> anyhow::Result<Vec<(String, u32)>> {
    pids.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, pid) = part.split_once('=').with_context(|| format!("{part} is not name=pid"))?;
            Ok((name.to_owned(), pid.parse().with_context(|| format!("{pid} is no pid"))?))
        })
        .collect()
}

/// The process that a connection's backend was forked from.
pub fn parent_of(pid: u32) -> Option<u32> {
    Stat::of(pid).map(|s| s.parent)
}

fn group(name: &str) -> String {
    name.split('-').next().unwrap_or(name).to_owned()
}

fn everyone() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| Stat::of(e.file_name().to_str()?.parse().ok()?)).collect()
}

struct Stat {
    pid: u32,
    parent: u32,
    name: String,
    own: f64,
    ended_children: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold spaces.
        let (before, after) = text.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            name,
            own: (ticks(11)? + ticks(12)?) / TICKS,
            ended_children: (ticks(13)? + ticks(14)?) / TICKS,
        })
    }
}
