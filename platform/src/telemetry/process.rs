//! The process's own figures, as the kernel has them at the moment of asking. Names as in Prometheus' client libraries.

use std::{
    fmt::Write,
    fs,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// Length of the ticks in `/proc/self/stat`: 1/100 s on every architecture that Linux and Rust share today (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

static START: OnceLock<f64> = OnceLock::new();

/// Remembers when the process began to measure.
pub fn start() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let _ = START.set(now);
}

/// Appends the figures; what the kernel does not tell (another system than Linux) is left out.
pub fn render(text: &mut String) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |field| status_field(&status, field).map(|kib| kib * 1024.0);
    let figures = [
        ("process_resident_memory_bytes", "gauge", "Resident memory.", kib("VmRSS:")),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", kib("VmSize:")),
        ("process_threads", "gauge", "Threads.", status_field(&status, "Threads:")),
        ("process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu_seconds()),
        ("process_open_fds", "gauge", "Open file descriptors.", open_fds()),
        ("process_max_fds", "gauge", "Most file descriptors allowed.", max_fds()),
        ("process_start_time_seconds", "gauge", "Start, in seconds since 1970.", START.get().copied()),
    ];
    for (name, kind, help, value) in figures {
        if let Some(value) = value {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    }
    let (service, version) = (crate::service::name(), crate::service::version());
    let _ = write!(
        text,
        "# HELP waybill_build_info Which program this is.\n# TYPE waybill_build_info gauge\n\
         waybill_build_info{{service=\"{service}\",version=\"{version}\"}} 1\n"
    );
}

fn status_field(status: &str, field: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

#[allow(clippy::cast_precision_loss, reason = "no process has 2^52 descriptors")]
fn open_fds() -> Option<f64> {
    // The folder is itself open while it is counted.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
