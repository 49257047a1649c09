//! `cargo xtask check-deploy`: docker-compose.yml and the Dockerfile against each other and against
//! the workspace, and the alerts and the dashboard against what is measured; on machines without a container engine.

mod compose;
mod dockerfile;
mod monitoring;
mod settings;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};

use crate::cargo::Metadata;
use crate::workspace::Workspace;
use compose::Compose;
use dockerfile::Dockerfile;
use monitoring::Documented;
use settings::Settings;

/// What the file must bring up for the whole of Waybill to be there.
const SERVICES: [&str; 9] =
    ["postgres", "rabbitmq", "meilisearch", "mailpit", "gateway", "migrate", "api", "worker", "scheduler"];

pub fn run() -> Result<ExitCode> {
    let workspace = Workspace::here()?;
    let read = |path: &str| {
        std::fs::read_to_string(workspace.root().join(path)).with_context(|| format!("reading {path}"))
    };
    let metadata = Metadata::read(&workspace)?;
    let compose = read("docker-compose.yml")?;
    let mut problems =
        problems(&compose, &read("Dockerfile")?, &read("platform/defaults.toml")?, &metadata.binaries())?;
    for path in Compose::parse(&compose)?.paths() {
        if !workspace.root().join(path).exists() {
            problems.push(format!("docker-compose.yml: there is no {path}"));
        }
    }
    problems.extend(monitored(workspace.root())?);
    for problem in &problems {
        eprintln!("check-deploy: {problem}");
    }
    if problems.is_empty() {
        println!("docker-compose.yml and Dockerfile hold together: {} services", SERVICES.len());
        println!("alerts and dashboard ask for what is measured");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// The alerts and the dashboard against the documents and every source of the binaries.
fn monitored(root: &Path) -> Result<Vec<String>> {
    let read =
        |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
    let mut code = String::new();
    for folder in ["platform", "jobs", "workers", "api", "scheduler"] {
        sources(&root.join(folder).join("src"), &mut code)?;
    }
    monitoring::problems(
        &read("deploy/monitoring/alerts.yml")?,
        &read("deploy/monitoring/grafana/dashboards/waybill.json")?,
        &Documented::parse(&read("docs/telemetry.md")?),
        &code,
    )
}

fn sources(folder: &Path, code: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, code)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

fn problems(compose: &str, dockerfile: &str, defaults: &str, binaries: &[&str]) -> Result<Vec<String>> {
    let compose = Compose::parse(compose)?;
    let dockerfile = Dockerfile::parse(dockerfile);
    let settings = Settings::parse(defaults);
    let mut problems = dockerfile.problems(binaries);
    for name in SERVICES {
        if compose.service(name).is_none() {
            problems.push(format!("no service {name}"));
        }
    }
    problems.extend(compose.problems());
    for (name, service) in &compose.services {
        for variable in service.variables() {
            if !settings.knows(&variable) {
                problems.push(format!("{name}: {variable} is no setting of Waybill"));
            }
        }
        let Some(target) = service.target() else { continue };
        if !dockerfile.has(target) {
            problems.push(format!("{name}: the Dockerfile has no stage {target}"));
            continue;
        }
        let default = dockerfile.command(target);
        for program in service.programs().chain(default) {
            if program.starts_with("waybill") && !dockerfile.holds(target, program) {
                problems.push(format!("{name}: {program} is not in the image {target}"));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const COMPOSE: &str = "
x-all: &all
  environment: { WAYBILL_API__LISTEN: 0.0.0.0:80 }
services:
  postgres: { image: postgres, healthcheck: { test: [CMD, pg_isready] } }
  rabbitmq: { image: rabbitmq }
  meilisearch: { image: meilisearch }
  mailpit: { image: mailpit }
  gateway: { image: gateway }
  migrate: { <<: *all, build: { target: api }, command: [waybill-api, migrate], restart: 'no',
             depends_on: { postgres: { condition: service_healthy } } }
  api: { <<: *all, build: { target: api },
         depends_on: { migrate: { condition: service_completed_successfully } } }
  worker: { build: { target: api } }
  scheduler: { build: { target: api }, volumes: ['data:/data'] }
volumes: { data: {} }
";
    const DOCKERFILE: &str = "
FROM rust AS build
RUN cargo build --bin waybill-api
FROM debian AS base
FROM base AS api
COPY --from=build /out/waybill-api /usr/local/bin/waybill-api
CMD [\"waybill-api\"]
";
    const DEFAULTS: &str = "[api]\n# Where.\nlisten = \"127.0.0.1:8080\"\n";

    fn check(compose: &str, dockerfile: &str) -> Vec<String> {
        problems(compose, dockerfile, DEFAULTS, &["waybill-api"]).unwrap()
    }

    #[test]
    fn a_whole_description_passes() {
        assert_eq!(check(COMPOSE, DOCKERFILE), Vec::<String>::new());
    }

    #[test]
    fn what_is_to_be_watched_is_measured_and_documented() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(monitored(root).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        for (old, new, told) in [
            ("  mailpit: { image: mailpit }\n", "", "no service mailpit"),
            (", healthcheck: { test: [CMD, pg_isready] }", "", "postgres has no health check"),
            ("depends_on: { postgres", "depends_on: { mysql", "mysql"),
            ("migrate]", "migrate, now]", ""),
            ("command: [waybill-api", "command: [waybill-worker", "waybill-worker is not in the image"),
            ("restart: 'no'", "restart: always", "migrate is to complete but restarts"),
            ("worker: { build: { target: api } }", "worker: { build: { target: nope } }", "no stage nope"),
            ("WAYBILL_API__LISTEN", "WAYBILL_API__LISTENS", "WAYBILL_API__LISTENS is no setting"),
            ("volumes: { data: {} }", "", "volume data"),
        ] {
            let broken = COMPOSE.replace(old, new);
            assert_ne!(broken, COMPOSE, "{old} is not in the example");
            let problems = check(&broken, DOCKERFILE).join("\n");
            assert!(problems.contains(told), "{told:?} not in {problems:?}");
            assert_eq!(problems.is_empty(), told.is_empty(), "{problems}");
        }
        let unknown_binary = DOCKERFILE.replace("--bin waybill-api", "--bin waybill-apis");
        assert!(check(COMPOSE, &unknown_binary).join("\n").contains("waybill-apis"));
    }
}
