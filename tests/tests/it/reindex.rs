//! The search index written anew: when somebody asks for it, and when a category has another name or place.

use anyhow::{Context as _, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::{Plan, System, client::answer, until};

use crate::operator::Operator;

/// Products of the big category: three steps of a reindex.
const MANY: i64 = 1_200;

async fn category(system: &System, name: &str, parent: Option<&str>) -> anyhow::Result<String> {
    let body = json!({ "name": name, "parent_id": parent });
    let (status, made) = system.admin.post("/v1/admin/categories", &body).await?;
    ensure!(status == StatusCode::CREATED, "{status} {made}");
    Ok(made["id"].as_str().context("no id")?.to_owned())
}

async fn change(system: &System, category: &str, change: &Value) -> anyhow::Result<()> {
    let request =
        system.admin.request(Method::PATCH, &format!("/v1/admin/categories/{category}")).json(change);
    let (status, body) = answer(request).await?;
    ensure!(status == StatusCode::OK, "{status} {body}");
    Ok(())
}

/// Puts many products into a category as a restored backup would: without events, so that nothing is indexed.
async fn many(system: &System, category: &str) -> anyhow::Result<()> {
    let insert = format!(
        "with p as (insert into products (id, slug, name, status)
                    select gen_random_uuid(), 'product-' || n, 'Product ' || n, 'active' from generate_series(1, {MANY}) n
                    returning id)
         insert into product_categories (product_id, category_id) select id, '{category}' from p"
    );
    diesel_async::SimpleAsyncConnection::batch_execute(&mut system.connection().await?, &insert).await?;
    Ok(())
}

/// How many products a search finds, up to a page.
async fn found(system: &System, query: &str) -> anyhow::Result<usize> {
    let page = system.anybody.read(&format!("/v1/search?limit=100&{query}")).await?;
    Ok(page["data"].as_array().context("no data")?.len())
}

async fn finds(system: &System, query: &str, expected: usize) -> anyhow::Result<()> {
    until(&format!("{query} to find {expected}"), async || {
        let n = found(system, query).await?;
        Ok(if n == expected { Ok(()) } else { Err(format!("{n} {}", system.logs())) })
    })
    .await
}

async fn done(operator: &Operator, job: &str) -> anyhow::Result<Value> {
    until("the job to be done", async || {
        let job = operator.json(&format!("jobs show {job}")).await?;
        Ok(if job["state"] == "done" { Ok(job) } else { Err(job.to_string()) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_category_that_is_renamed_or_moved_takes_its_products_along() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let home = category(&system, "Home", None).await?;
    let garden = category(&system, "Garden", None).await?;
    let lamps = category(&system, "Lamps", Some(&home)).await?;
    let product = json!({
        "name": "Fjord", "status": "active", "category_ids": [lamps],
        "variants": [{ "sku": "FJORD-1", "price": { "amount": "7.65", "currency": "GBP" } }],
    });
    let (status, made) = system.admin.post("/v1/admin/products", &product).await?;
    ensure!(status == StatusCode::CREATED, "{status} {made}");
    finds(&system, "q=lamps", 1).await?;
    ensure!(found(&system, "q=fjord&category=home").await? == 1);
    ensure!(found(&system, "q=home").await? == 1, "by the name of what is above");

    // A new name, of its own category and of one above.
    change(&system, &lamps, &json!({ "name": "Chandeliers" })).await?;
    finds(&system, "q=chandelier", 1).await?;
    change(&system, &home, &json!({ "name": "Household" })).await?;
    finds(&system, "q=household", 1).await?;

    // A new place.
    change(&system, &lamps, &json!({ "parent_id": garden })).await?;
    finds(&system, "q=garden", 1).await?;
    ensure!(found(&system, "q=fjord&category=garden").await? == 1);
    ensure!(found(&system, "q=fjord&category=home").await? == 0, "it is not there any more");

    // What no document holds is no reason.
    let jobs = "select count(*) as n from (select kind from jobs union all select kind from job_history) j
                where kind = 'search.reindex'";
    ensure!(system.count(jobs).await? == 3);
    change(&system, &lamps, &json!({ "name": "Chandeliers", "position": 7, "active": false })).await?;
    ensure!(system.count(jobs).await? == 3);
    // The product itself has not changed, so nobody is told that it has.
    let product = format!("/v1/admin/products/{}", made["id"].as_str().context("no id")?);
    ensure!(system.admin.read(&product).await?["version"] == made["version"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reindex_goes_on_where_a_killed_worker_stopped() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let lamps = category(&system, "Lamps", None).await?;
    many(&system, &lamps).await?;
    diesel_async::SimpleAsyncConnection::batch_execute(
        &mut system.connection().await?,
        "insert into products (id, slug, name, status) values (gen_random_uuid(), 'mug', 'Mug', 'active')",
    )
    .await?;
    ensure!(found(&system, "q=product").await? == 0 && found(&system, "q=mug").await? == 0);

    // Asked for twice while nobody works, it is one job.
    let job = operator.json("search reindex").await?;
    let again = operator.json("search reindex").await?;
    ensure!(job["id"] == again["id"] && job["kind"] == "search.reindex", "{job} {again}");
    let id = job["id"].as_str().context("no id")?.to_owned();

    system.add_worker(&[("WAYBILL_FAIL_POINTS", "reindex.after_step=kill:1")]).await?;
    let mut victim = system.workers.pop().context("no worker")?;
    until("the worker to die after a step", async || {
        Ok(if victim.has_ended()? { Ok(()) } else { Err(victim.log()) })
    })
    .await?;
    let left = operator.json(&format!("jobs show {id}")).await?;
    ensure!(left["progress"]["done"] == 500 && left["progress"]["total"] == MANY + 1, "{left}");
    ensure!(system.count("select count(*) as n from product_search").await? == 500);
    let first = "create table first as select product_id, indexed_at from product_search";
    diesel_async::SimpleAsyncConnection::batch_execute(&mut system.connection().await?, first).await?;

    system.add_worker(&[]).await?;
    let job = done(&operator, &id).await?;
    ensure!(job["result"]["products"] == MANY + 1 && job["attempt"] == 2, "{job}");
    ensure!(system.count("select count(*) as n from product_search").await? == MANY + 1);
    let kept = "select count(*) as n from first join product_search using (product_id, indexed_at)";
    ensure!(system.count(kept).await? == 500, "what was done was done again");
    ensure!(found(&system, "q=mug").await? == 1 && found(&system, "q=lamps").await? == 100);

    // One category alone; what is in the index already is written over.
    let spoil = "update product_search set words = 'spoilt'";
    diesel_async::SimpleAsyncConnection::batch_execute(&mut system.connection().await?, spoil).await?;
    let job = operator.json(&format!("search reindex --category {lamps}")).await?;
    let job = done(&operator, job["id"].as_str().context("no id")?).await?;
    ensure!(job["result"]["products"] == MANY, "{job}");
    ensure!(system.count("select count(*) as n from product_search where words = 'spoilt'").await? == 1);
    let actions = operator.well("actions").await?;
    ensure!(actions.contains("search.reindex") && actions.contains(&lamps), "{actions}");
    let reader = Operator::of(&system, &["system:read"]).await?;
    reader.fails("search reindex", 2, "403").await?;
    Ok(())
}
