//! `cargo xtask test`: throw-away services, all binaries, all tests.
//!
//! The tests find in their environment
//!
//! | variable | what |
//! |---|---|
//! | `WAYBILL_TEST_DATABASE_URL` | a Postgres account that may create databases; each test creates its own |
//! | `WAYBILL_TEST_AMQP_URL` | the broker; absent when there is none |
//! | `WAYBILL_TEST_BIN_DIR` | the folder of the binaries just built |
//! | `WAYBILL_TEST_CHROMEDRIVER`, `WAYBILL_TEST_CHROMIUM` | a browser and what drives it; absent when there is none |
//! | `WAYBILL_TEST_FAKETIME` | the library that gives a process a clock of its own; absent when there is none |
//! | `WAYBILL_TEST_PG_CTL`, `WAYBILL_TEST_MQ_CTL` | see [`crate::provide`]; absent when not ours to stop |
//! | `WAYBILL_TEST_SCRATCH` | starts a service of a test's own, see [`crate::provide`] |

use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::cargo::{self, Metadata};
use crate::faults;
use crate::provide::browser::{self, Browser};
use crate::provide::clock;
use crate::provide::commands::Services;
use crate::provide::{Lifetime, Options, scratch};
use crate::workspace::Workspace;

/// The feature of the test builds that lets a test kill a process at a named step.
const FAIL_POINTS: &str = "fail-points";

#[derive(clap::Args)]
pub struct Args {
    /// Only the faults: processes, services, disks and clocks that fail under load; minutes
    #[arg(value_enum)]
    suite: Option<Suite>,
    /// Passed to the test runner, as in `-- -p waybill-jobs lease`; then doc tests are left out
    #[arg(last = true)]
    runner: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Suite {
    Faults,
}

pub async fn run(args: Args) -> Result<ExitCode> {
    match args.suite {
        Some(Suite::Faults) => faults::run(args.runner).await,
        None => run_with(Selection::Runner(args.runner)).await,
    }
}

/// Runs one test program, by Cargo's own runner, with variables of its own.
pub async fn program(
    target: &'static [&'static str],
    arguments: Vec<String>,
    variables: &[(&'static str, &str)],
) -> Result<ExitCode> {
    let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    run_with(Selection::Program { target, arguments, variables }).await
}

/// What is to be run.
enum Selection {
    /// What the arguments to the test runner name.
    Runner(Vec<String>),
    /// One program.
    Program {
        target: &'static [&'static str],
        arguments: Vec<String>,
        variables: Vec<(&'static str, String)>,
    },
}

impl Selection {
    /// The profile that the arguments to the runner name: the binaries that the tests start have to be of the same.
    fn profile(&self) -> &str {
        match self {
            Self::Runner(runner) => profile(runner),
            Self::Program { .. } => "dev",
        }
    }

    /// The folder that Cargo puts them in.
    fn folder(&self) -> &str {
        match self.profile() {
            "dev" | "test" => "debug",
            "bench" => "release",
            named => named,
        }
    }
}

async fn run_with(selection: Selection) -> Result<ExitCode> {
    let options = Options::new(Lifetime::Ephemeral)?;
    let workspace = options.workspace.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    // The build takes the processors, the services mostly wait for each other: both at once.
    let features = match &selection {
        Selection::Runner(runner) => features(&workspace, runner)?,
        Selection::Program { .. } => all_features(&workspace)?,
    };
    let mut build = cargo::command(&workspace);
    // With the tests, or the binaries would be built with fewer features of their dependencies, and those twice.
    build
        .args(["build", "--workspace", "--bins", "--tests"])
        .args(&all_features(&workspace)?)
        .args(["--profile", selection.profile()])
        .kill_on_drop(true);
    let (services, browser, clock, built) = tokio::join!(
        Services::provide(&options),
        for_tests(&workspace, &selection),
        fake_clock(&workspace),
        build.status()
    );
    let services = services?;
    services.print();
    let provided = Given { services: &services, browser: browser.as_ref(), clock };

    let outcome = tokio::select! {
        outcome = chosen(&workspace, &provided, &selection, &features, built) => outcome,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    };
    services.stop().await?;
    scratch::remove(&workspace).await?;
    outcome
}

/// What the tests find.
struct Given<'a> {
    services: &'a Services,
    browser: Option<&'a Browser>,
    clock: Option<PathBuf>,
}

/// The fault suite looks at no page.
async fn for_tests(workspace: &Workspace, selection: &Selection) -> Option<Browser> {
    let Selection::Runner(_) = selection else { return None };
    match Browser::provide(workspace).await {
        Ok(browser) => {
            println!("{}", browser.line());
            Some(browser)
        }
        Err(reason) => {
            println!("{}", browser::none_line(&reason));
            None
        }
    }
}

/// Every kind of run has tests that want one.
async fn fake_clock(workspace: &Workspace) -> Option<PathBuf> {
    match clock::library(workspace).await {
        Ok(library) => {
            println!("{}", clock::line(&library));
            Some(library)
        }
        Err(reason) => {
            println!("{}", clock::none_line(&reason));
            None
        }
    }
}

async fn chosen(
    workspace: &Workspace,
    given: &Given<'_>,
    selection: &Selection,
    features: &[String],
    built: std::io::Result<ExitStatus>,
) -> Result<ExitCode> {
    match selection {
        Selection::Runner(runner) => {
            let folder = selection.folder();
            tests(workspace, given, runner, features, folder, built).await
        }
        Selection::Program { target, arguments, variables } => {
            let built = built.context("starting cargo build")?;
            if !built.success() {
                return Ok(code(built));
            }
            let folder = selection.folder();
            let mut runner = with_services(cargo::command(workspace), workspace, given, folder)?;
            // The features of the build above, or everything would be built anew with fewer.
            runner.args(["test", "--quiet", "--workspace"]).args(features);
            runner.args(*target).args(arguments);
            runner.envs(variables.iter().map(|(name, value)| (name, value)));
            Ok(code(runner.status().await.context("starting the tests")?))
        }
    }
}

async fn tests(
    workspace: &Workspace,
    given: &Given<'_>,
    extra: &[String],
    features: &[String],
    folder: &str,
    built: std::io::Result<ExitStatus>,
) -> Result<ExitCode> {
    let built = built.context("starting cargo build")?;
    if !built.success() {
        return Ok(code(built));
    }
    let mut runner = with_services(cargo::command(workspace), workspace, given, folder)?;
    if has_nextest(workspace).await {
        runner.args(["nextest", "run"]);
    } else {
        runner.arg("test");
        // Doc tests follow on their own, as they do after nextest.
        runner.args(["--lib", "--bins", "--tests"]);
    }
    if !names_package(extra) {
        runner.arg("--workspace");
    }
    // One failure is no reason not to know of the others.
    runner.arg("--no-fail-fast");
    let status = runner.args(features).args(extra).status().await.context("starting the tests")?;
    if !status.success() || !extra.is_empty() {
        return Ok(code(status));
    }
    let mut docs = with_services(cargo::command(workspace), workspace, given, folder)?;
    docs.args(["test", "--doc", "--workspace"]).args(features);
    Ok(code(docs.status().await.context("starting the doc tests")?))
}

fn with_services(
    mut command: Command,
    workspace: &Workspace,
    given: &Given<'_>,
    folder: &str,
) -> Result<Command> {
    let Given { services, browser, clock } = given;
    // Binaries that a test starts would take them for settings.
    command.env_remove("DATABASE_URL").env_remove("AMQP_URL");
    command.env("WAYBILL_TEST_DATABASE_URL", &services.postgres.url);
    command.env("WAYBILL_TEST_SCRATCH", scratch::command()?);
    command.env("WAYBILL_TEST_BIN_DIR", workspace.binaries(folder));
    let broker = services.rabbitmq.as_ref().ok();
    let optional = [
        ("WAYBILL_TEST_PG_CTL", services.postgres.control.as_ref()),
        ("WAYBILL_TEST_AMQP_URL", broker.map(|broker| &broker.url)),
        ("WAYBILL_TEST_MQ_CTL", broker.and_then(|broker| broker.control.as_ref())),
    ];
    for (name, value) in optional {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let browser = browser.map(|browser| (&browser.driver, &browser.program)).unzip();
    let files = [
        ("WAYBILL_TEST_CHROMEDRIVER", browser.0),
        ("WAYBILL_TEST_CHROMIUM", browser.1),
        ("WAYBILL_TEST_FAKETIME", clock.as_ref()),
    ];
    for (name, path) in files {
        match path {
            Some(path) => command.env(name, path),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

async fn has_nextest(workspace: &Workspace) -> bool {
    let mut command = cargo::command(workspace);
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// The profile that arguments name, in the words of nextest or of Cargo.
fn profile(arguments: &[String]) -> &str {
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--release" | "-r" => return "release",
            "--cargo-profile" => return arguments.next().unwrap_or("dev"),
            other => {
                if let Some(named) = other.strip_prefix("--cargo-profile=") {
                    return named;
                }
            }
        }
    }
    "dev"
}

fn names_package(extra: &[String]) -> bool {
    extra.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

/// The features of the tests themselves: Cargo refuses one of a package that is not selected.
fn features(workspace: &Workspace, extra: &[String]) -> Result<Vec<String>> {
    if !names_package(extra) {
        return all_features(workspace);
    }
    let named = |feature: &String| {
        let package = feature.split('/').next().unwrap_or_default();
        extra
            .iter()
            .any(|argument| argument.trim_start_matches("-p").trim_start_matches("--package=") == package)
    };
    let features = Metadata::read(workspace)?.with_feature(FAIL_POINTS);
    Ok(as_arguments(features.into_iter().filter(named).collect()))
}

fn all_features(workspace: &Workspace) -> Result<Vec<String>> {
    Ok(as_arguments(Metadata::read(workspace)?.with_feature(FAIL_POINTS)))
}

fn as_arguments(features: Vec<String>) -> Vec<String> {
    if features.is_empty() { features } else { vec!["--features".to_owned(), features.join(",")] }
}

/// The runner's own exit code; 1 when a signal ended it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::Selection;

    #[test]
    fn tests_start_binaries_of_their_own_profile() {
        let of = |arguments: &[&str]| {
            let selection = Selection::Runner(arguments.iter().map(|text| (*text).to_owned()).collect());
            (selection.profile().to_owned(), selection.folder().to_owned())
        };
        let dev = ("dev".to_owned(), "debug".to_owned());
        let release = ("release".to_owned(), "release".to_owned());
        assert_eq!(of(&["--run-ignored", "only", "-E", "test(import_speed)"]), dev);
        assert_eq!(of(&["--cargo-profile", "release", "-E", "test(import_speed)"]), release);
        assert_eq!(of(&["--cargo-profile=release"]), release);
        assert_eq!(of(&["--release"]), release);
        assert_eq!(of(&["--cargo-profile", "quick"]).1, "quick");
    }
}
