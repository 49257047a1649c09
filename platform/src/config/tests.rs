#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeSet, io::Write, time::Duration};

use secrecy::ExposeSecret;

use super::*;

const DATABASE: (&str, &str) = ("WAYBILL_DATABASE__URL", "postgres://waybill:pgpass@localhost/waybill");

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_variables(std::iter::once(DATABASE).chain(variables.iter().copied()))
}

fn refused(variables: &[(&str, &str)]) -> Vec<Problem> {
    load(variables).unwrap_err().problems
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn production() -> Vec<(&'static str, &'static str)> {
    vec![
        ("WAYBILL_ENVIRONMENT", "production"),
        ("WAYBILL_AUTH__JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("WAYBILL_PAYMENTS__SANDBOX__API_KEY", "key"),
        ("WAYBILL_PAYMENTS__SANDBOX__WEBHOOK_SECRET", "0123456789abcdef"),
        ("WAYBILL_API__PUBLIC_URL", "https://api.shop.example"),
        ("WAYBILL_SECRETS__ENCRYPTION_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ]
}

#[test]
fn the_defaults_and_a_database_are_enough() {
    let config = load(&[]).unwrap();
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.database.pool_max, 16);
    assert!(config.broker.url.is_none());
    assert_eq!(config.worker.lease, Duration::from_secs(15));
    assert_eq!(config.worker.queues["checkout"], 64);
    assert_eq!(config.worker.queues.len(), 7);
    assert_eq!(config.webhooks.schedule.len(), 9);
    assert_eq!(config.webhooks.schedule[8], Duration::from_hours(24));
    assert!(!config.webhooks.allow_private_addresses);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_missing_database_is_named_with_its_variable() {
    let error = Config::from_variables::<String, String>([]).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    let text = error.to_string();
    assert!(text.contains("database.url (WAYBILL_DATABASE__URL): is not set"), "{text}");
    assert!(text.contains("a URL that starts with postgres://"), "{text}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let file = file(
        "[database]\npool_max = \"many\"\n[worker]\nclaim_bach = 3\n[checkout]\ncurrency = \"pounds\"\n",
    );
    let path = file.path().to_str().unwrap();
    let problems = Config::from_variables([
        ("WAYBILL_CONFIG", path),
        ("WAYBILL_API__LISTEN", "nowhere"),
        ("WAYBILL_WORKER__HEARTBEAT", "10s"),
        ("WAYBILL_WORKER__QUEUES__MAIL", "lots"),
        ("WAYBILL_BROKER__PREFETCH", "0"),
        ("WAYBILL_AUTH__JWT_SECRET", "short"),
        ("WAYBILL_MAIL__TRANSPORT", "pigeon"),
        ("WAYBILL_WEBHOOKS__SCHEDULE", "5s,soon"),
        ("WAYBILL_WEBHOOKS__REQUIRE_HTTPS", "maybe"),
        ("WAYBILL_NO_SUCH__THING", "1"),
    ])
    .unwrap_err()
    .problems;
    let settings: BTreeSet<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    let expected = BTreeSet::from([
        "api.listen",
        "auth.jwt_secret",
        "broker.prefetch",
        "checkout.currency",
        "database.pool_max",
        "database.url",
        "mail.transport",
        "no_such.thing",
        "webhooks.require_https",
        "webhooks.schedule",
        "worker.claim_bach",
        "worker.heartbeat",
        "worker.queues",
    ]);
    assert_eq!(settings, expected, "{problems:#?}");
    assert_eq!(problems.len(), expected.len(), "each once: {problems:#?}");
    for problem in &problems {
        let file_only = problem.setting == "worker.claim_bach";
        assert_eq!(problem.variable.is_none(), file_only, "{problem}");
    }
    let currency = problems.iter().find(|problem| problem.setting == "checkout.currency").unwrap();
    assert!(currency.message.contains("ISO 4217") && currency.message.contains(path), "{currency}");
}

#[test]
fn unknown_settings_and_variables_are_refused_with_a_hint() {
    let problems = refused(&[("WAYBILL_WORKER__LEESE", "20s")]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("did you mean worker.lease?"), "{}", problems[0]);
    assert_eq!(problems[0].variable.as_deref(), Some("WAYBILL_WORKER__LEESE"));

    let problems = refused(&[("WAYBILL_WORKER", "fast"), ("WAYBILL_API__LISTEN__PORT", "1")]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|p| p.setting == "worker" && p.message.contains("section")), "{problems:?}");

    let file =
        file("[api]\nlisten = { port = 1 }\n[worker]\nqueues = 3\npipelines = \"webhooks\"\n[nothing]\n");
    let problems = refused(&[("WAYBILL_CONFIG", file.path().to_str().unwrap())]);
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(
        settings,
        ["api.listen", "worker.queues", "worker.pipelines"],
        "a wrong shape once: {problems:?}"
    );
}

#[test]
fn the_tools_own_variables_are_no_settings() {
    let tools =
        ["WAYBILL_TEST_DATABASE", "WAYBILL_SANDBOX_PORT", "WAYBILL_BENCH_N", "WAYBILL_FAIL_POINTS", "PATH"];
    load(&tools.map(|name| (name, "x"))).unwrap();
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let file = file("[worker]\nlease = \"30s\"\ngrace = \"2s\"\n[worker.queues]\nmail = 5\nimports = 0\n");
    let config = load(&[
        ("WAYBILL_CONFIG", file.path().to_str().unwrap()),
        ("WAYBILL_WORKER__GRACE", "3s"),
        ("WAYBILL_WORKER__QUEUES__CHECKOUT", "7"),
        ("WAYBILL_WORKER__PIPELINES", "webhooks, indexing"),
        ("WAYBILL_API__ALLOWED_ORIGINS", "[\"https://a.example\", \"http://localhost:3000\"]"),
        ("WAYBILL_API__BODY_LIMIT_BYTES", "2_000_000"),
    ])
    .unwrap();
    assert_eq!(config.worker.lease, Duration::from_secs(30));
    assert_eq!(config.worker.grace, Duration::from_secs(3));
    assert_eq!(config.worker.heartbeat, Duration::from_secs(1));
    assert_eq!(config.worker.queues["mail"], 5);
    assert_eq!(config.worker.queues["checkout"], 7);
    assert_eq!(
        config.worker.queues["imports"], 0,
        "not the number of `default`: it is left to other workers"
    );
    assert_eq!(config.worker.pipelines, ["webhooks", "indexing"]);
    assert_eq!(config.api.allowed_origins, ["https://a.example", "http://localhost:3000"]);
    assert_eq!(config.api.body_limit_bytes, 2_000_000);
    let grace = config.settings.iter().find(|setting| setting.name == "worker.grace").unwrap();
    assert_eq!(grace.origin, Origin::Variable("WAYBILL_WORKER__GRACE".to_owned()));
    assert_eq!(grace.value.as_deref(), Some("3s"));
}

#[test]
fn a_text_replaces_the_queues_whole_and_an_empty_list_is_one() {
    let config =
        load(&[("WAYBILL_WORKER__QUEUES", "mail=32, default = 4"), ("WAYBILL_WORKER__PIPELINES", "[]")])
            .unwrap();
    assert_eq!(
        config.worker.queues.into_iter().collect::<Vec<_>>(),
        [("default".into(), 4), ("mail".into(), 32)]
    );
    assert!(config.worker.pipelines.is_empty());
    for wrong in ["mail", "mail=-1", "mail=1001", "Mail=1", "ma il=1"] {
        let problems = refused(&[("WAYBILL_WORKER__QUEUES", wrong)]);
        assert_eq!(problems[0].setting, "worker.queues", "{wrong}");
    }
}

#[test]
fn customary_variables_stand_in_for_our_own() {
    let customary = [("DATABASE_URL", "postgres://customary/db"), ("AMQP_URL", "amqp://customary")];
    let config = Config::from_variables(customary).unwrap();
    assert_eq!(config.database.url.expose_secret(), "postgres://customary/db");
    assert_eq!(config.broker.url.unwrap().expose_secret(), "amqp://customary");

    let ours = customary.into_iter().chain([DATABASE, ("WAYBILL_BROKER__URL", "")]);
    let config = Config::from_variables(ours).unwrap();
    assert_eq!(config.database.url.expose_secret(), DATABASE.1);
    assert!(config.broker.url.is_none(), "our variable, empty, says: no broker");

    let empty =
        customary.into_iter().chain([("WAYBILL_DATABASE__URL", ""), ("WAYBILL_DATABASE__URL_FILE", "")]);
    assert_eq!(
        Config::from_variables(empty).unwrap().database.url.expose_secret(),
        "postgres://customary/db"
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config =
        load(&[("WAYBILL_WORKER__LEASE", ""), ("WAYBILL_LOG__FORMAT", ""), ("WAYBILL_WORKER__QUEUES", "")])
            .unwrap();
    assert_eq!(config.worker.lease, Duration::from_secs(15));
    assert_eq!(config.worker.queues.len(), 7);
    let config = load(&[("WAYBILL_AUTH__JWT_SECRET", ""), ("WAYBILL_AUTH__JWT_SECRET_FILE", "")]).unwrap();
    assert!(config.auth.jwt_secret.expose_secret().starts_with(check::DEVELOPMENT_SECRET));
    let file = file("[broker]\nurl = \"amqp://from-file\"\n");
    let config =
        load(&[("WAYBILL_CONFIG", file.path().to_str().unwrap()), ("WAYBILL_BROKER__URL", "")]).unwrap();
    assert!(config.broker.url.is_none());
}

#[test]
fn secrets_are_read_from_files() {
    let secret = file("a-secret-of-more-than-thirty-two-bytes\n");
    let path = secret.path().to_str().unwrap();
    let config = load(&[("WAYBILL_AUTH__JWT_SECRET_FILE", path)]).unwrap();
    assert_eq!(config.auth.jwt_secret.expose_secret(), "a-secret-of-more-than-thirty-two-bytes");

    let url = file("postgres://from-file/db");
    let variables = [
        ("WAYBILL_DATABASE__URL_FILE", url.path().to_str().unwrap()),
        ("DATABASE_URL", "postgres://other/db"),
    ];
    let config = Config::from_variables(variables).unwrap();
    assert_eq!(config.database.url.expose_secret(), "postgres://from-file/db");

    let both = [
        ("WAYBILL_AUTH__JWT_SECRET_FILE", path),
        ("WAYBILL_AUTH__JWT_SECRET", "the-secret-itself-wins-over-its-file"),
    ];
    assert_eq!(load(&both).unwrap().auth.jwt_secret.expose_secret(), both[1].1);

    let problems = refused(&[("WAYBILL_AUTH__JWT_SECRET_FILE", "/does/not/exist")]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].setting, "auth.jwt_secret_file");
    assert_eq!(problems[0].variable.as_deref(), Some("WAYBILL_AUTH__JWT_SECRET_FILE"));
}

#[test]
fn no_secret_is_ever_shown() {
    let secrets = [
        ("WAYBILL_BROKER__URL", "amqp://guest:s3cr3t-broker@localhost"),
        ("WAYBILL_AUTH__JWT_SECRET", "s3cr3t-jwt-0123456789abcdef0123456789"),
        ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_EMAIL", "admin@shop.example"),
        ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_PASSWORD", "s3cr3t-password"),
        ("WAYBILL_PAYMENTS__SANDBOX__API_KEY", "s3cr3t-key"),
        ("WAYBILL_PAYMENTS__SANDBOX__WEBHOOK_SECRET", "s3cr3t-webhook-secret"),
        ("WAYBILL_MAIL__SMTP_URL", "smtp://u:s3cr3t-smtp@mail"),
        ("WAYBILL_FILES__S3__ACCESS_KEY_ID", "s3cr3t-id"),
        ("WAYBILL_FILES__S3__SECRET_ACCESS_KEY", "s3cr3t-s3"),
    ];
    let config = load(&secrets).unwrap();
    let shown = format!("{config:?}{config:#?}");
    assert!(!shown.contains("s3cr3t") && !shown.contains("pgpass"), "{shown}");
    assert!(shown.contains("***"));

    let wrong = secrets.map(|(name, _)| (name, "s3cr3t"));
    let error = load(&wrong).unwrap_err();
    assert!(!format!("{error}{error:?}").contains("s3cr3t"), "{error}");
}

#[test]
fn contradictions_inside_a_section_are_refused() {
    for (setting, variables) in [
        ("worker.heartbeat", vec![("WAYBILL_WORKER__HEARTBEAT", "8s")]),
        ("worker.heartbeat", vec![("WAYBILL_WORKER__LEASE", "2s")]),
        ("worker.grace", vec![("WAYBILL_WORKER__GRACE", "15s")]),
        ("auth.access_ttl", vec![("WAYBILL_AUTH__ACCESS_TTL", "1h"), ("WAYBILL_AUTH__REFRESH_TTL", "30m")]),
        ("auth.bootstrap_admin_password", vec![("WAYBILL_AUTH__BOOTSTRAP_ADMIN_EMAIL", "a@b.example")]),
        ("auth.bootstrap_admin_email", vec![("WAYBILL_AUTH__BOOTSTRAP_ADMIN_PASSWORD", "long enough now")]),
        ("mail.smtp_url", vec![("WAYBILL_MAIL__TRANSPORT", "smtp")]),
        ("files.s3.secret_access_key", vec![("WAYBILL_FILES__S3__ACCESS_KEY_ID", "id")]),
        ("checkout.stock_wait", vec![("WAYBILL_CHECKOUT__RESERVATION_TTL", "10s")]),
        ("api.upload_limit_bytes", vec![("WAYBILL_API__UPLOAD_LIMIT_BYTES", "1024")]),
        ("database.url", vec![("WAYBILL_DATABASE__URL", "mysql://host/db")]),
        ("broker.url", vec![("WAYBILL_BROKER__URL", "localhost:5672")]),
        ("log.filter", vec![("WAYBILL_LOG__FILTER", "waybill=loud")]),
    ] {
        let problems = refused(&variables);
        assert_eq!(problems.len(), 1, "{setting}: {problems:?}");
        assert_eq!(problems[0].setting, setting, "{problems:?}");
    }
}

#[test]
fn production_refuses_what_is_only_fit_for_development() {
    let config = load(&production()).unwrap();
    assert_eq!(config.environment, Environment::Production);
    assert!(
        config.warnings.iter().any(|warning| warning.contains("no money moves")),
        "{:?}",
        config.warnings
    );

    let problems = refused(&[
        ("WAYBILL_ENVIRONMENT", "production"),
        ("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"),
    ]);
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(
        settings,
        [
            "auth.jwt_secret",
            "secrets.encryption_key",
            "payments.sandbox.api_key",
            "payments.sandbox.webhook_secret",
            "webhooks.allow_private_addresses",
            "api.public_url"
        ]
    );

    let plain = [production(), vec![("WAYBILL_WEBHOOKS__REQUIRE_HTTPS", "false")]].concat();
    assert_eq!(refused(&plain)[0].setting, "webhooks.require_https");
}

#[test]
fn risky_pairs_are_warned_of() {
    let config = load(&[("WAYBILL_API__LISTEN", "0.0.0.0:8080")]).unwrap();
    assert!(config.warnings[0].contains("development secret"), "{:?}", config.warnings);
    let config = load(&[("WAYBILL_DATABASE__POOL_MAX", "2")]).unwrap();
    assert!(config.warnings[0].contains("database.pool_max"), "{:?}", config.warnings);
}

#[test]
fn places_for_files() {
    let place = |url: &str| load(&[("WAYBILL_FILES__URL", url)]).map(|config| config.files.location);
    assert_eq!(place("./x/y").unwrap(), FilesLocation::Folder("./x/y".into()));
    assert_eq!(place("file:///var/files").unwrap(), FilesLocation::Folder("/var/files".into()));
    let bucket = FilesLocation::S3 { bucket: "shop".into(), prefix: "a/b".into() };
    assert_eq!(place("s3://shop/a/b/").unwrap(), bucket);
    for wrong in ["ftp://host/x", "s3://", "file://host/x", "s3://bucket?region=x"] {
        assert!(place(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_unusable_file_is_a_problem_beside_the_others() {
    let missing = Config::from_variables([("WAYBILL_CONFIG", "/does/not/exist.toml")]).unwrap_err();
    let settings: Vec<&str> = missing.problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["/does/not/exist.toml", "database.url"]);

    let broken = file("[worker]\nlease = 15s\n");
    let problems = refused(&[("WAYBILL_CONFIG", broken.path().to_str().unwrap())]);
    assert!(problems[0].message.starts_with("line 2 is not TOML"), "{}", problems[0]);
}

/// Each setting that the code reads stands in the defaults file, with or without a value, below a comment that says
/// what it is; the other way round an undocumented or dead setting is an unknown one and stops the start.
#[test]
fn the_defaults_file_documents_every_setting() {
    let mut documented = BTreeSet::new();
    let mut section = String::new();
    let mut words = 0;
    for line in DEFAULTS.lines() {
        let entry = line.strip_prefix("# ").unwrap_or(line);
        let key = entry.split_once(" = ").map(|(key, _)| key).filter(|key| values::is_name(key));
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
            words = 0;
        } else if let Some(key) = key {
            // Two entries may share one comment, as an access key and its secret do.
            assert!(words >= 3, "{section}{key} has no comment");
            documented.insert(format!("{section}{key}"));
        } else if line.is_empty() {
            words = 0;
        } else {
            words += line.trim_start_matches('#').split_whitespace().count();
        }
    }
    let variables = [(DATABASE.0.to_owned(), DATABASE.1.to_owned())];
    let mut problems = Vec::new();
    let layers = Layers::read(variables, &mut problems);
    let mut reader = Reader::new(&layers, problems);
    let config = Config::read(&mut reader);
    let settings: BTreeSet<String> = reader
        .known
        .iter()
        .filter(|name| !name.ends_with("_file") && *name != "worker.queues")
        .cloned()
        .chain(config.worker.queues.keys().map(|queue| format!("worker.queues.{queue}")))
        .collect();
    assert_eq!(settings, documented);
}

#[test]
fn the_placeholder_url_is_one() {
    // Read when api.public_url is wrong, on every run of `every_problem_is_reported_at_once` and here.
    assert_eq!(refused(&[("WAYBILL_API__PUBLIC_URL", "nowhere")]).len(), 1);
}
