//! The web console in a browser, over the real system.

use anyhow::{Context as _, ensure};
use diesel_async::SimpleAsyncConnection as _;
use serde_json::Value;
use waybill_tests::{Plan, System, browser::Browser, shop::checkout, system::ADMIN, until};

/// Three dead letters, whose texts are what nobody should take for markup.
const DEAD: &str = r#"
    insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at, payload,
        failures, created_at, died_at, reason)
    select ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'housekeeping.expire_checkouts', 1, 'housekeeping', 0, 10, 10,
        0, 10, now(), '{}',
        '[{"attempt": 10, "outcome": "failed", "error": "<img src=x onerror=document.title=1> no route",
           "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:01Z"}]',
        now(), now() - n * interval '1 minute', 'attempts used up'
    from generate_series(1, 3) n"#;
const FIRST: &str = "00000000-0000-7000-8000-000000000001";

/// Every page of the navigation.
const PAGES: [&str; 12] = [
    "",
    "queues",
    "kinds",
    "workers",
    "jobs",
    "dead",
    "flows",
    "schedules",
    "events",
    "dependencies",
    "orders",
    "audit",
];

async fn sign_in(browser: &Browser, email: &str, password: &str) -> anyhow::Result<()> {
    browser.fill("#email", email).await?;
    browser.fill("#password", password).await?;
    browser.click("form .primary").await
}

async fn count_of(system: &System, what: &str) -> anyhow::Result<i64> {
    system.count(&format!("select count(*) as n from {what}")).await
}

async fn queue(system: &System, name: &str) -> anyhow::Result<Value> {
    system.admin.read(&format!("/v1/admin/system/queues/{name}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_works_in_the_browser() -> anyhow::Result<()> {
    let Some(browser) = Browser::start().await? else {
        eprintln!("skipped, no browser");
        return Ok(());
    };
    let system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let mut body = checkout(&[("MUG-1", 2)], "tok_visa");
    body["email"] = "ada@example.com".into();
    let order = system.place(&system.anybody, &body).await?;
    let order = system.settled(&order).await?;
    system.at_rest().await?;
    system.connection().await?.batch_execute(DEAD).await?;

    browser.open(&format!("http://{}/console", system.api.address)).await?;
    signing_in(&browser, &system).await?;
    queues(&browser, &system).await.context("queues")?;
    dead_letters(&browser, &system).await.context("dead letters")?;
    orders(&browser, &order).await.context("orders")?;
    phone(&browser).await.context("phone")?;
    leaving(&browser).await.context("leaving")?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}

async fn signing_in(browser: &Browser, system: &System) -> anyhow::Result<()> {
    sign_in(browser, ADMIN.0, "not this one").await?;
    browser.shows("the address or the password is wrong").await?;
    browser.until("document.querySelector('.request-id code').innerText.length > 10").await?;
    system.anybody.register("customer@example.com").await?;
    sign_in(browser, "customer@example.com", waybill_tests::client::PASSWORD).await?;
    browser.shows("Not for this account").await?;
    ensure!(browser.eval("sessionStorage.length").await? == 0, "a customer is in");
    sign_in(browser, ADMIN.0, ADMIN.1).await?;
    // The queues, the worker that serves them, and that all invariants hold.
    for text in ["checkout", "webhooks", "housekeeping", "All hold"] {
        browser.shows(text).await?;
    }
    let worker = system.workers[0].pid()?.to_string();
    browser.shows(&worker).await
}

async fn queues(browser: &Browser, system: &System) -> anyhow::Result<()> {
    browser.click("[data-nav=queues]").await?;
    browser.click("[data-act='pause mail']").await?;
    browser.fill("dialog [name=reason]", "the mail server <b>moves</b>").await?;
    browser.click("dialog .danger").await?;
    browser.shows("mail is paused.").await?;
    browser.shows("the mail server <b>moves</b>").await?;
    let mail = queue(system, "mail").await?;
    ensure!(mail["paused"] == true && mail["pause_reason"] == "the mail server <b>moves</b>", "{mail}");
    browser.click("[data-act='resume mail']").await?;
    browser.until("!!document.querySelector(\"[data-act='pause mail']\")").await?;
    let mail = queue(system, "mail").await?;
    ensure!(mail["paused"] == false, "{mail}");
    // By whom, for all to see.
    browser.click("[data-nav=audit]").await?;
    browser.shows("queue.pause").await?;
    browser.until("!!document.querySelector('td [title^=\"admin:\"]')").await.map(drop)
}

async fn dead_letters(browser: &Browser, system: &System) -> anyhow::Result<()> {
    ensure!(count_of(system, "dead_letters").await? == 3);
    browser.click("[data-nav=dead]").await?;
    browser.shows("<img src=x onerror=document.title=1> no route").await?;
    ensure!(browser.eval("document.querySelectorAll('main img').length").await? == 0, "a text became markup");
    browser.click(&format!("[data-act='retry {FIRST}']")).await?;
    browser.until("document.querySelectorAll('main tbody tr').length === 2").await?;
    until("the retried job to be done", async || {
        let job = system.admin.read(&format!("/v1/admin/jobs/{FIRST}")).await?;
        Ok(if job["state"] == "done" { Ok(()) } else { Err(job.to_string()) })
    })
    .await?;
    browser.fill("[name=error]", "no route\u{e007}").await?;
    browser.until("location.hash.includes('no+route')").await?;
    browser.click("[data-act=discard]").await?;
    browser.shows("Discard 2 dead letters?").await?;
    browser.click("dialog .danger").await?;
    browser.shows("2 dead letters discarded.").await?;
    ensure!(count_of(system, "dead_letters").await? == 0);
    browser.shows("No dead letter is like that.").await
}

async fn orders(browser: &Browser, order: &Value) -> anyhow::Result<()> {
    browser.click("[data-nav=orders]").await?;
    browser.fill("[name=what]", &format!("{}\u{e007}", order["number"])).await?;
    browser.shows(&format!("Order {}", order["number"])).await?;
    for text in ["checkout.run", "order.confirmed", "reservation", "authorize"] {
        browser.shows(text).await?;
    }
    // The job behind it, with what it was given.
    browser.click(".trail a[href^='#/jobs/']").await?;
    browser.shows("Arguments").await?;
    browser.shows("order_id").await
}

/// No page is wider than a phone, and none shows an error.
async fn phone(browser: &Browser) -> anyhow::Result<()> {
    browser.screen(390, 800).await?;
    for page in PAGES {
        browser.eval(&format!("void (location.hash = '#/{page}')")).await?;
        let link = format!("[data-nav][href=\"#/{page}\"][aria-current=page]");
        browser.until(&format!("!!document.querySelector({})", serde_json::json!(link))).await?;
        let name = if page.is_empty() { "overview" } else { page };
        browser.until(&format!("!!document.querySelector('main .page-{name} h1')")).await?;
        let shown = browser
            .eval("[document.documentElement.scrollWidth, document.querySelector('.problem')?.innerText]")
            .await?;
        ensure!(
            shown[0].as_i64().is_some_and(|width| width <= 390) && shown[1].is_null(),
            "#/{page}: {shown}"
        );
    }
    Ok(())
}

async fn leaving(browser: &Browser) -> anyhow::Result<()> {
    // A session that is over leads to the log-in.
    browser
        .eval("void sessionStorage.setItem('waybill.session', '{\"token\": \"x\", \"refresh\": \"y\"}')")
        .await?;
    browser.eval("void location.reload()").await?;
    browser.shows("The session has ended.").await?;
    ensure!(browser.eval("sessionStorage.length").await? == 0);
    sign_in(browser, ADMIN.0, ADMIN.1).await?;
    browser.click("[aria-label='Sign out']").await?;
    browser.until("!!document.querySelector('#email')").await?;
    ensure!(browser.eval("sessionStorage.length").await? == 0);
    Ok(())
}
